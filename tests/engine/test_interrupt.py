import signal

import pytest

from experiments.engine.interrupt import interruptions

WATCHED = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(params=WATCHED, ids=lambda number: number.name)
def usual(request):
    """A signal number, and the list to which its usual handler appends."""
    calls = []
    previous = signal.signal(request.param, lambda number, frame: calls.append(number))
    yield request.param, calls
    signal.signal(request.param, previous)


def test_first_signal_is_noted_and_the_second_has_its_usual_effect(usual):
    number, calls = usual
    with interruptions() as stopping:
        assert not stopping()
        signal.raise_signal(number)
        assert stopping() and not calls
        signal.raise_signal(number)
        assert stopping() and calls == [number]


@pytest.fixture
def heeds_ctrl_c():
    """Ctrl-C as in a terminal; what a shell starts in the background ignores it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_second_ctrl_c_is_a_keyboard_interrupt():
    with interruptions() as stopping:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stopping()


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in WATCHED]
    with interruptions():
        assert all(signal.getsignal(n) not in before for n in WATCHED)
    assert [signal.getsignal(number) for number in WATCHED] == before
    with pytest.raises(RuntimeError), interruptions():
        raise RuntimeError
    assert [signal.getsignal(number) for number in WATCHED] == before
