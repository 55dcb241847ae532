"""Where a clip is at any moment: play, pause, seek, speed and loop, without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Timeline:
    """A clip of `duration` seconds. Every method takes `now`, seconds of any steady clock, and answers for that moment.

    start: position in the clip at the moment `since`; since None: paused there. speed: seconds of the clip per second, positive.
    """

    duration: float
    speed: float = 1.0
    loop: bool = True
    start: float = 0.0
    since: float | None = None

    def position(self, now: float) -> float:
        """Seconds into the clip, in [0, duration]."""
        if self.since is None:
            return self.start
        reached = self.start + (now - self.since) * self.speed
        return reached % self.duration if self.loop else min(reached, self.duration)

    def playing(self, now: float) -> bool:
        """Whether the position still moves."""
        return self.since is not None and (self.loop or self.position(now) < self.duration)

    def play(self, now: float) -> Timeline:
        """On from here; from the beginning when the end was reached."""
        position = self.position(now)
        return replace(self, start=0.0 if position >= self.duration else position, since=now)

    def pause(self, now: float) -> Timeline:
        return replace(self, start=self.position(now), since=None)

    def seek(self, position: float, now: float) -> Timeline:
        """To a position, playing or paused as before."""
        return replace(self, start=min(max(position, 0.0), self.duration), since=now if self.playing(now) else None)

    def at_speed(self, speed: float, now: float) -> Timeline:
        """As fast as that from now on, without a jump."""
        return replace(self.seek(self.position(now), now), speed=speed)

    def looping(self, loop: bool, now: float) -> Timeline:
        return replace(self.seek(self.position(now), now), loop=loop)
