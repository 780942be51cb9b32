"""The papers' numbers, as they printed them, in nats on MNIST."""

# Table 1 of Jang, Gu & Poole (2017): nats, by experiment, family and estimator.
JANG = {
    ("vae", "bernoulli"): {
        "score_function": 112.2,
        "darn": 110.9,
        "muprop": 109.7,
        "straight_through": 116.0,
        "slope_annealed_st": 111.5,
        "gumbel_softmax": 105.0,
        "st_gumbel_softmax": 111.5,
    },
    ("vae", "categorical"): {
        "score_function": 110.6,
        "darn": 128.8,
        "muprop": 107.0,
        "straight_through": 110.9,
        "slope_annealed_st": 107.8,
        "gumbel_softmax": 101.5,
        "st_gumbel_softmax": 107.8,
    },
    ("structured_prediction", "bernoulli"): {
        "score_function": 72.0,
        "darn": 59.7,
        "muprop": 58.9,
        "straight_through": 58.9,
        "slope_annealed_st": 58.7,
        "gumbel_softmax": 58.5,
        "st_gumbel_softmax": 59.3,
    },
    ("structured_prediction", "categorical"): {
        "score_function": 73.1,
        "darn": 67.9,
        "muprop": 63.0,
        "straight_through": 61.8,
        "slope_annealed_st": 61.1,
        "gumbel_softmax": 59.0,
        "st_gumbel_softmax": 59.7,
    },
}

# Table 1 of Maddison, Mnih & Teh (2017), by network, m and estimator (VIMCO, NVIL at
# m = 1): negative log-likelihood, L_50000 after 10⁷ steps, of test and training images.
MADDISON = {
    ("200H-784V", 1): {"concrete": (107.3, 107.5), "vimco": (104.4, 104.2)},
    ("200H-784V", 5): {"concrete": (104.9, 104.9), "vimco": (101.9, 101.5)},
    ("200H-784V", 50): {"concrete": (104.3, 104.2), "vimco": (98.8, 98.3)},
    ("200H-200H-784V", 1): {"concrete": (102.1, 102.3), "vimco": (92.9, 91.7)},
    ("200H-200H-784V", 5): {"concrete": (99.9, 100.0), "vimco": (91.7, 90.8)},
    ("200H-200H-784V", 50): {"concrete": (99.5, 99.4), "vimco": (90.7, 89.7)},
    ("200H~784V", 1): {"concrete": (92.1, 91.2), "vimco": (93.8, 91.5)},
    ("200H~784V", 5): {"concrete": (89.5, 88.1), "vimco": (91.4, 88.6)},
    ("200H~784V", 50): {"concrete": (88.5, 86.4), "vimco": (89.3, 86.5)},
    ("200H~200H~784V", 1): {"concrete": (87.9, 86.5), "vimco": (88.4, 85.8)},
    ("200H~200H~784V", 5): {"concrete": (86.3, 84.1), "vimco": (86.4, 82.5)},
    ("200H~200H~784V", 50): {"concrete": (85.7, 83.1), "vimco": (85.5, 81.8)},
}
