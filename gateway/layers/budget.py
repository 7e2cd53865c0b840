"""Retry budget: limits the extra calls (retries and hedges) to an upstream.

Retries multiply the load on an upstream exactly when it can bear it least. The budget limits them
to a share of the calls, for any number of attempts (Finagle's RetryBudget; Google SRE book,
"Handling Overload").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.values.base import Policy

if TYPE_CHECKING:
    from gateway.call import Clock

__all__ = ["Budget", "BudgetPolicy"]

_BURST = 10.0
"""Maximum extra calls that can be saved up."""


class BudgetPolicy(Policy):
    """How many extra calls are allowed."""

    ratio: float = Field(default=0.19, ge=0, le=1)
    """Extra calls as a share of the calls. With the reserve it is about a fifth of the calls."""

    reserve: int = Field(default=3, ge=0)
    """Extra calls that are allowed in any second, however few calls there are."""


class Budget:
    """A token bucket: every call adds `ratio` tokens, every extra call takes one.

    Extra calls from the reserve are charged too. Over time there are at most
    max(ratio x calls, reserve x seconds) extra calls, plus a burst.
    """

    __slots__ = ("_balance", "_clock", "_granted", "_ratio", "_reserve", "_second")

    def __init__(self, policy: BudgetPolicy, clock: Clock) -> None:
        self._ratio = policy.ratio
        self._reserve = policy.reserve
        self._clock = clock
        self._balance = 0.0
        self._second = float("-inf")
        self._granted = 0

    @property
    def left(self) -> float:
        """The extra calls that are allowed now, without those of the reserve."""
        return max(self._balance, 0.0)

    def deposit(self) -> None:
        """Count a call."""
        if self._balance < _BURST:
            self._balance += self._ratio

    def withdraw(self) -> bool:
        """Return whether one more extra call is allowed now, and count it."""
        if self.is_spent():
            return False
        if self._balance < 1:
            now = self._clock()
            if now - self._second >= 1:
                self._second = now
                self._granted = 0
            self._granted += 1
        self._balance = max(self._balance - 1, -float(self._reserve))
        return True

    def is_spent(self) -> bool:
        """Return whether no extra call is allowed now."""
        if self._balance >= 1:
            return False
        if self._clock() - self._second >= 1:
            return self._reserve == 0
        return self._granted >= self._reserve

    def refund(self) -> None:
        """Give back a token for an extra call that was not made."""
        self._balance += 1
