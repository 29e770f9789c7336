"""How many posts a second API Gateway takes from us: found out, below a limit that is configured.

One budget of the account serves every HTTP, WebSocket and ``@connections`` request. The limit leaves a part
of it to deliveries, viewers who come, and pings, which are refused, too, when the budget is used up. The
invocations that serve the parts of one audience share the limit.

Several audiences know nothing of each other. So each invocation does as TCP does: a little more as time
passes, and less by a factor when too many are answered by 429 (additive increase, multiplicative decrease).
By that they come to share fairly.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
"""

# 95 % of the budget's default.
MOST = 9_500.0
LEAST = 50.0
# What may be sent at one moment, in seconds' worth: the default burst is half of the default rate.
BURST_SECONDS = 0.5
# The shortest time that is waited for a token.
MOMENT = 0.0005
# This part of the limit is added each second.
STEP = 0.1
# Answers are judged together that come within this time.
WINDOW_SECONDS = 0.1
# After such a pause the answers before it say nothing of the present.
IDLE_SECONDS = 1.0
# If more than this part of the answers are 429, the limit is exceeded: the rate falls.
TOLERATED = 0.05
# Up to this part there may be more: some clients are always full.
FEW = 0.02
# Fewer 429 in a window may be those of a few full clients: they are ignored.
MANY = 5
# A little below what was accepted, so that what was refused finds room, too.
FACTOR = 0.9
# In one step the rate falls to this part of it at the lowest.
AT_ONCE = 0.5


class RateLimiter:
    """A bucket of tokens, one for each post, whose filling rate adapts. Times are seconds of one clock."""

    def __init__(self, now: float, most: float = MOST) -> None:
        """At ``most`` so many posts a second."""
        self._whole = self._most = self.per_second = most
        self._tokens = most * BURST_SECONDS
        self._filled = now
        self._open(now)

    def share(self, among: int) -> None:
        """From now on, post no more than one of so many invocations that share the limit."""
        scale = self._whole / among / self._most
        self._most *= scale
        self.per_second = max(self.per_second * scale, LEAST)
        self._tokens *= min(scale, 1.0)

    def available(self, now: float) -> int:
        """How many posts may be sent at this moment."""
        passed, self._filled = now - self._filled, now
        if passed >= IDLE_SECONDS:
            self._open(now)
        elif now - self._opened >= WINDOW_SECONDS:
            self._judge(now)
        self._tokens = min(self._tokens + self.per_second * passed, self.per_second * BURST_SECONDS)
        return max(int(self._tokens), 0)

    def spend(self, posts: int) -> None:
        """Take the tokens of as many posts, no more than are available."""
        self._tokens -= posts

    def go_on(self, per_second: float) -> None:
        """Go on at the rate that another has found, with no more in store than it had."""
        self.per_second = max(min(per_second, self._most), LEAST)
        self._tokens = 0.0

    def wait(self) -> float:
        """Seconds, from the last look on, until a post may be sent."""
        # Not less than a moment, which rounding would leave of a token that is all but there.
        return max((1.0 - self._tokens) / self.per_second, MOMENT) if self._tokens < 1.0 else 0.0

    def answered(self, *, throttled: bool, again: bool = False) -> None:
        """A connection answered by 429 or otherwise; ``again`` if it was 429 before, too."""
        if not throttled:
            self._accepted += 1
        elif again:
            self._throttled_again += 1
        else:
            self._throttled += 1

    def throttled_part(self) -> float:
        """What part of the answers are 429 at present: of the last two windows the greater."""
        return max(TOLERATED, self._part_before, self._part())

    def _part(self) -> float:
        """What part of this window's answers are 429; 0 if one full client may have caused them all."""
        throttled = self._throttled + self._throttled_again
        return throttled / (throttled + self._accepted) if throttled >= MANY else 0.0

    def _open(self, now: float, part_before: float = 0.0) -> None:
        """Open a window."""
        self._opened, self._part_before = now, part_before
        self._accepted = self._throttled = self._throttled_again = 0

    def _judge(self, now: float) -> None:
        """A full client answers 429 again and again: only what is throttled at first lowers the rate."""
        seconds = now - self._opened
        answered = self._accepted + self._throttled
        if self._throttled >= MANY and self._throttled > TOLERATED * answered:
            accepted = min(self._accepted / seconds, self.per_second) * FACTOR
            self.per_second = max(accepted, self.per_second * AT_ONCE, LEAST)
            self._tokens = min(self._tokens, 0.0)
        elif (
            self._throttled <= MANY + FEW * answered and self._throttled_again <= MANY + TOLERATED * answered
        ):
            self.per_second = max(min(self.per_second + STEP * self._most * seconds, self._most), LEAST)
        self._open(now, self._part())
