"""This process among those of its node: one of them leads, and all hear of each other's changes.

Whoever leads follows the peers, asks witnesses and keeps outgoing channels in line; any process takes
changes, for the store lets one write at a time. A leader that dies or stands still is cut off by the store
within seconds, and another takes over. Nothing depends on there being only one: what is under way stands in
the store, and moves with what was written of it.
"""

import threading

import structlog

from node.errors import Refusal
from node.service.parts import Parts
from node.service.replication import Replication
from node.service.sequencer import Sequencer
from node.service.submissions import Submissions
from node.store.engines import Attendance

LOOK_S = 1.0
PAUSE_S = 0.5

log = structlog.get_logger()


class Presence:
    """Leads or waits to lead; rings the bell for changes that other processes made."""

    def __init__(
        self, parts: Parts, sequencer: Sequencer, replication: Replication, submissions: Submissions
    ) -> None:
        self._parts, self._sequencer = parts, sequencer
        self._replication, self._submissions = replication, submissions
        self._stop = threading.Event()
        self._leading = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin; a process that is alone leads at once."""
        self._thread.start()

    def stop(self) -> None:
        """Lead no longer."""
        self._stop.set()
        self._lead(leads=False)

    @property
    def is_alive(self) -> bool:
        """Whether this process takes part."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._parts.database.attend() as attendance:
                    self._attend(attendance)
            except Refusal as refusal:
                log.warning("not among the node's processes", why=refusal.sentence())
            except Exception as error:  # noqa: BLE001  # whatever it is, another try comes
                log.error("not among the node's processes", why=repr(error))
            self._lead(leads=False)
            self._parts.bell.ring()  # nobody may have told us meanwhile
            self._stop.wait(PAUSE_S)

    def _attend(self, attendance: Attendance) -> None:
        self._hear()
        while not self._stop.is_set():
            self._lead(leads=attendance.leads())
            if attendance.heard(LOOK_S):
                self._hear()

    def _hear(self) -> None:
        """Something may have changed that others did, also which peers there are."""
        self._parts.peers.forget()
        self._replication.watch_peers()
        self._parts.bell.ring()

    def _lead(self, *, leads: bool) -> None:
        """Begin or end what only the leader does; nothing where it is so, nor a beginning after `stop`."""
        with self._leading:
            if leads and not self._sequencer.leads and not self._stop.is_set():
                log.info("this process leads")
                self._sequencer.leads = True
                self._replication.start()
                self._submissions.start()
            elif self._sequencer.leads and not leads:
                self._sequencer.leads = False
                self._replication.stop()
                self._submissions.stop()
