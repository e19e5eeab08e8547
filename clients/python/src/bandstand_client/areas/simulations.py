"""Policies against personas, beside the serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bandstand_client.areas.sender import Sender
from bandstand_client.call import build_delete, build_get, build_parser, build_post, read_nothing
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class SimulationCalls(Sender):
    """Calls about simulations; an ``admin`` key is needed."""

    def start_simulation(self, policies: list[str] | None = None, **plan: Any) -> answers.Simulation:
        """Queue a simulation.

        Args:
            policies: which play.
            plan: ``days``, ``personas``, ``seeds`` and what the service's ``/openapi.json`` shows beside them.

        Example:
            >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
            >>> client.cancel_simulation(run.id).id == run.id
            True
            >>> client.delete_simulation(run.id)
        """
        body = {"policies": policies, **plan}
        return self.send(build_post("/simulations", build_parser(answers.Simulation), body, repeatable=False))

    def simulations(self, *, before: int | None = None, limit: int | None = None) -> answers.SimulationList:
        """A page of simulations, newest first.

        Args:
            before: ``next`` of the page before.
            limit: 1 to 200; 50 if left out.

        Example:
            >>> len(client.simulations(limit=1).simulations) <= 1
            True
        """
        return self.send(build_get("/simulations", build_parser(answers.SimulationList), before=before, limit=limit))

    def simulation(self, run: int) -> answers.SimulationResult:
        """A simulation with what it has come to so far.

        Raises:
            UnknownSimulationError: there is none of that number.

        Example:
            >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
            >>> client.simulation(run.id).plan["days"]
            1
            >>> client.delete_simulation(run.id)
        """
        return self.send(build_get("/simulations/{run}", build_parser(answers.SimulationResult), ids={"run": str(run)}))

    def cancel_simulation(self, run: int) -> answers.Simulation:
        """End a simulation and keep what is done.

        Example:
            >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
            >>> client.cancel_simulation(run.id).id == run.id
            True
            >>> client.delete_simulation(run.id)
        """
        return self.send(
            build_post("/simulations/{run}/cancel", build_parser(answers.Simulation), ids={"run": str(run)})
        )

    def delete_simulation(self, run: int) -> None:
        """End a simulation and forget it.

        Example:
            >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
            >>> client.delete_simulation(run.id)
        """
        return self.send(build_delete("/simulations/{run}", read_nothing, ids={"run": str(run)}))
