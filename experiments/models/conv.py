"""Convolutions of stride 2 and their transposes, hand-written for CPU.

Why: XLA's gradients of strided convolutions are 4 times as slow there. To measure:
`python scripts/benchmark.py convolutions`; delete this file when its ratio is near 1.

Blocks of 2×2 pixels as channels (space to depth) make a 5×5 convolution of stride 2 one
of stride 1 with a 3×3 kernel: the 5×5 kernel, zero-padded to 6×6 and blocked the same
way. The transpose computes blocks, which depth to space spreads. The gradients are
convolutions with axes in the usual order, because inside of a loop any other order is
slow, too. Other platforms run XLA's own convolutions.

Shapes: B batch, S side, C and E channels in and out. Kernels are [5, 5, C, E].
"""

import jax
import jax.numpy as jnp

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _space_to_depth(x):
    """Blocks of 2×2 pixels as channels, [B, 2·S, 2·S, C] -> [B, S, S, 4·C]."""
    batch, rows, columns, channels = x.shape
    x = x.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows // 2, columns // 2, -1)


def _depth_to_space(x):
    """The inverse, [B, S, S, 4·C] -> [B, 2·S, 2·S, C]."""
    batch, rows, columns, channels = x.shape
    x = x.reshape(batch, rows, columns, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * rows, 2 * columns, -1)


def _convolve(x, kernel):
    """A convolution of stride 1, padded by a pixel on every side."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT
    )


@jax.custom_batching.custom_vmap
def _kernel_gradient(x, g):
    """Sum over images and pixels of the shifted x times g, [3, 3, C, E].

    It is a convolution with channels as images, images as channels and g as kernel.
    """
    taps = _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3))
    return taps.transpose(1, 2, 0, 3)


@_kernel_gradient.def_vmap
def _kernel_gradients(axis_size, in_batched, x, g):
    # One by one: batched they would be a grouped convolution, which is slow.
    def at(index):
        pair = zip((x, g), in_batched, strict=True)
        return _kernel_gradient(*(a[index] if batched else a for a, batched in pair))

    return jax.lax.map(at, jnp.arange(axis_size)), True


@jax.custom_vjp
def _stride_1(x, kernel):
    """`_convolve` of a 3×3 kernel, its gradients with axes in the usual order."""
    return _convolve(x, kernel)


def _stride_1_backward(residuals, g):
    x, kernel = residuals
    x_gradient = _convolve(g, kernel[::-1, ::-1].swapaxes(2, 3))
    return x_gradient, _kernel_gradient(x, g)


_stride_1.defvjp(
    lambda x, kernel: (_convolve(x, kernel), (x, kernel)), _stride_1_backward
)


def _blocked_down(x, kernel):
    # Output i reads pixels 2i − 1 … 2i + 3; with a zero tap ahead blocks i − 1 … i + 1.
    taps = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    taps = taps.reshape(3, 2, 3, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    return _stride_1(_space_to_depth(x), taps.reshape(3, 3, -1, kernel.shape[3]))


def _blocked_up(x, kernel):
    # Output 2j + p reads input j − 1 + t by tap 2t + 1 − p, of which the sixth is zero.
    taps = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    taps = taps.reshape(3, 2, 3, 2, *kernel.shape[2:])[:, ::-1, :, ::-1]
    taps = taps.transpose(0, 2, 4, 1, 3, 5)
    return _depth_to_space(_stride_1(x, taps.reshape(3, 3, kernel.shape[2], -1)))


def _plain_down(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=_LAYOUT
    )


def _plain_up(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=_LAYOUT)


def down(x, kernel):
    """A 5×5 convolution of stride 2 with "SAME" padding.

    Args:
        x: [B, S, S, C], S even.
        kernel: [5, 5, C, E].

    Returns:
        [B, S/2, S/2, E].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_blocked_down, default=_plain_down)


def up(x, kernel):
    """A 5×5 transposed convolution of stride 2 with "SAME" padding.

    Args:
        x: [B, S, S, C].
        kernel: [5, 5, C, E].

    Returns:
        [B, 2·S, 2·S, E].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_blocked_up, default=_plain_up)
