"""Play, pause, seek, speed and loop."""

from __future__ import annotations

import random

import pytest

from avatarcli.viewer.timeline import Timeline


class SlowTimeline:
    """The readable twin: counts in small steps of time."""

    STEP = 0.001

    def __init__(self, duration: float) -> None:
        self.duration, self.speed, self.loop, self.at, self.running = duration, 1.0, True, 0.0, False

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / self.STEP)):
            if self.running:
                self.at += self.STEP * self.speed
                if self.at >= self.duration:
                    self.at, self.running = (self.at - self.duration, True) if self.loop else (self.duration, False)


def test_any_use_of_it_ends_where_counting_does() -> None:
    chance = random.Random(3)
    for _ in range(30):
        line, slow, now = Timeline(2.0), SlowTimeline(2.0), 100.0
        for _ in range(12):
            waited = round(chance.uniform(0, 1.5), 3)
            slow.wait(waited)
            now += waited
            match chance.randrange(5):
                case 0:
                    line = line.play(now)
                    slow.at, slow.running = (0.0 if slow.at >= slow.duration else slow.at), True
                case 1:
                    line, slow.running = line.pause(now), False
                case 2:
                    slow.at = chance.uniform(0, 1.9)
                    line = line.seek(slow.at, now)
                case 3:
                    slow.speed = chance.choice([0.1, 0.5, 2.0])
                    line = line.at_speed(slow.speed, now)
                case 4:
                    slow.loop = chance.random() < 0.5
                    line = line.looping(slow.loop, now)
            apart = abs(line.position(now) - slow.at)
            assert min(apart, line.duration - apart) < 0.02
            assert line.playing(now) == slow.running or apart < 0.02


def test_without_a_loop_it_stops_at_the_end_and_plays_again_from_the_beginning() -> None:
    line = Timeline(2.0, loop=False).play(10.0)
    assert (line.position(11.0), line.playing(11.0)) == (1.0, True)
    assert (line.position(13.0), line.playing(13.0)) == (2.0, False)
    assert line.play(13.0).position(13.5) == 0.5


@pytest.mark.parametrize(("wanted", "got"), [(-1.0, 0.0), (1.25, 1.25), (7.0, 2.0)])
def test_seeking_stays_inside_and_paused(wanted: float, got: float) -> None:
    line = Timeline(2.0).seek(wanted, 5.0)
    assert (line.position(9.0), line.playing(9.0)) == (got, False)
