"""Personalizer's wire as the gate serves it: all calls of one loop, joined."""

from bandstand.api.asgi.access import Headers
from bandstand.api.asgi.foreign_wire import ForeignCall, ForeignResponse, HeaderList
from bandstand.api.asgi.metrics import Metrics
from bandstand.errors import BandstandError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.personalizer.admin import AdminCalls
from bandstand.personalizer.auto_optimization import AutoOptimizer
from bandstand.personalizer.errors import PersonalizerError, render_error
from bandstand.personalizer.evaluations import EvaluationCalls
from bandstand.personalizer.events import EventCalls
from bandstand.personalizer.importances import ImportanceCalls
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.orphans import OrphanRewards
from bandstand.personalizer.resource import ResourceCalls, ResourceLog, ResourceModel
from bandstand.personalizer.routing import SEGMENT, PersonalizerRequest, Route, RouteTable, Shape
from bandstand.personalizer.slot_events import SlotEventCalls

_IN_PATH: frozenset[Shape] = frozenset({"path"})
_IN_QUERY: frozenset[Shape] = frozenset({"query"})
_PREFIX = f"/{SEGMENT}/"
_KEY = b"ocp-apim-subscription-key"
_OWN_KEY = b"x-api-key"


class PersonalizerWire:
    """The calls of one loop; see :class:`bandstand.api.asgi.foreign_wire.ForeignWire`.

    Args:
        loop: what decides and learns.
        metrics: where it counts.
        log: the loop's decisions and rewards.
        evaluations: has evaluations made.
        model: makes and takes files of what the loop has learned.
        orphans: rewards that wait for their event, also while the loop takes another form.

    Attributes:
        optimizer: looks for a better policy from time to time, while it is run.
    """

    def __init__(
        self,
        loop: PersonalizerLoop,
        metrics: Metrics,
        log: ResourceLog,
        evaluations: EvaluationQueue,
        model: ResourceModel,
        orphans: OrphanRewards,
    ) -> None:
        events = EventCalls(loop, metrics, orphans)
        slots = SlotEventCalls(loop, metrics, events)
        admin = AdminCalls(loop)
        resource = ResourceCalls(loop, log, model)
        runs = EvaluationCalls(loop, evaluations, log, admin)
        importances = ImportanceCalls(loop, evaluations, log)
        self.optimizer = AutoOptimizer(loop, runs, admin)
        self._table = RouteTable(
            [
                Route("POST", "rank", "serve", events.rank),
                Route("POST", "events/{id}/reward", "serve", events.reward),
                Route("POST", "events/{id}/activate", "serve", events.activate),
                Route("POST", "multislot/rank", "serve", slots.rank),
                Route("POST", "multislot/events/{id}/reward", "serve", slots.reward),
                Route("POST", "multislot/events/{id}/activate", "serve", slots.activate),
                Route("GET", "configurations/service", "read", admin.get_service),
                Route("PUT", "configurations/service", "admin", admin.put_service),
                Route("GET", "configurations/policy", "read", admin.get_policy),
                Route("PUT", "configurations/policy", "admin", admin.put_policy),
                Route("DELETE", "configurations/policy", "admin", admin.reset_policy),
                Route("POST", "configurations/applyFromEvaluation", "admin", runs.apply),
                Route("GET", "evaluations", "read", runs.list_all),
                Route("POST", "evaluations", "admin", runs.create, _IN_PATH),
                Route("PUT", "evaluations/{id}", "admin", runs.put, _IN_QUERY),
                Route("GET", "evaluations/{id}", "read", runs.get),
                Route("DELETE", "evaluations/{id}", "admin", runs.delete),
                Route("GET", "featureImportances", "read", importances.list_all, _IN_QUERY),
                Route("PUT", "featureImportances/{id}", "admin", importances.put, _IN_QUERY),
                Route("GET", "featureImportances/{id}", "read", importances.get, _IN_QUERY),
                Route("DELETE", "featureImportances/{id}", "admin", importances.delete, _IN_QUERY),
                Route("GET", "logs/properties", "read", resource.get_log_properties),
                Route("DELETE", "logs", "admin", resource.delete_logs),
                Route("GET", "model", "admin", resource.get_model),
                Route("PUT", "model", "admin", resource.put_model),
                Route("DELETE", "model", "admin", resource.reset_model),
                Route("GET", "model/properties", "read", resource.get_model_properties),
                Route("POST", "logs/interactions", "serve", refuse_access),
                Route("POST", "logs/observations", "serve", refuse_access),
            ]
        )

    def owns(self, path: str) -> bool:
        """Whether a raw path is one of its own."""
        return path.startswith(_PREFIX)

    def find_call(self, method: str, path: str, query: bytes) -> ForeignCall:
        """The call of a method and a raw path.

        Raises:
            NotFoundError, MethodNotAllowedError: there is none.
        """
        return self._table.find_call(method, path, query)

    def to_own_headers(self, headers: HeaderList) -> HeaderList:
        """The headers with a subscription key in the place of ours; one of ours that is there too goes before it."""
        given = dict(headers)
        return headers if _KEY not in given or _OWN_KEY in given else [*headers, (_OWN_KEY, given[_KEY])]

    def render_error(self, error: BandstandError, headers: Headers) -> ForeignResponse:
        """An error in Personalizer's form."""
        return render_error(error, headers)


async def refuse_access(_: PersonalizerRequest) -> ForeignResponse:
    """What only the original's own C++ client calls.

    Raises:
        PersonalizerError: always.
    """
    raise PersonalizerError(403, "InvalidApiAccess", "interactions are logged by rank calls here")
