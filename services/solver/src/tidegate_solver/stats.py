"""What of the solver's events the monitor is told of."""

from tidegate.stats import BUDGET, PROVIDER, SITE, WALL
from tidegate.telemetry.tally import How, Tally

from tidegate_solver import events

# States of a breaker as numbers, the worse the larger.
_CLOSED, _PROBING, _OPEN = 0.0, 1.0, 2.0

STATS = (
    Tally(name="solve", event=events.SolveAnswered, label="status"),
    Tally(name="solve", event=events.SolveAnswered, scope=PROVIDER, by="provider", label="status"),
    Tally(name="solve", event=events.SolveAnswered, scope=SITE, by="site", label="status"),
    Tally(
        name="solve_s",
        event=events.SolveAnswered,
        how=How.TIMES,
        value="seconds",
        where=("status", "solved"),
    ),
    Tally(
        name="solve_s",
        event=events.SolveAnswered,
        how=How.TIMES,
        scope=PROVIDER,
        by="provider",
        value="seconds",
        where=("status", "solved"),
    ),
    Tally(name="spent", event=events.SolveAnswered, value="cost"),
    Tally(name="spent", event=events.SolveAnswered, scope=PROVIDER, by="provider", value="cost"),
    Tally(name="spent", event=events.SolveAnswered, scope=SITE, by="site", value="cost"),
    Tally(name="denied", event=events.PurchaseDenied, label="reason"),
    Tally(name="refused", event=events.CreateRejected, scope=PROVIDER, by="provider"),
    Tally(name="judged", event=events.AnswerJudged, scope=PROVIDER, by="provider", label="accepted"),
    Tally(
        name="breaker", event=events.BreakerClosed, how=How.LAST, scope=PROVIDER, by="provider", value=_CLOSED
    ),
    Tally(
        name="breaker",
        event=events.BreakerProbed,
        how=How.LAST,
        scope=PROVIDER,
        by="provider",
        value=_PROBING,
    ),
    Tally(
        name="breaker", event=events.BreakerOpened, how=How.LAST, scope=PROVIDER, by="provider", value=_OPEN
    ),
    Tally(
        name="out", event=events.ProviderStanding, how=How.LAST, scope=PROVIDER, by="provider", value="out"
    ),
    Tally(
        name="limit",
        event=events.ConcurrencyChanged,
        how=How.LAST,
        scope=PROVIDER,
        by="provider",
        value="after",
    ),
    Tally(
        name="balance", event=events.BalanceRead, how=How.LAST, scope=PROVIDER, by="provider", value="balance"
    ),
    Tally(name="unread", event=events.UnreadRead, how=How.LAST, value="records"),
    Tally(name="unread_oldest_s", event=events.UnreadRead, how=How.LAST, value="oldest_s"),
    Tally(
        name="shut",
        event=events.UnreadWallShut,
        how=How.LAST,
        scope=WALL,
        subject="unread answers",
        label="partition",
    ),
    Tally(
        name="shut",
        event=events.UnreadWallOpened,
        how=How.LAST,
        scope=WALL,
        subject="unread answers",
        label="partition",
        value=0.0,
    ),
    Tally(name="used", event=events.BudgetRead, how=How.LAST, scope=BUDGET, by="scope", value="used"),
    Tally(name="limit", event=events.BudgetRead, how=How.LAST, scope=BUDGET, by="scope", value="limit"),
)
