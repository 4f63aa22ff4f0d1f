"""Replays of sessions' histories, for tests and before a deploy.

Invariant: a history replays here exactly when a worker of this code can go on with it: same code, sandbox, converter.
"""

from __future__ import annotations

from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from inturn import encryption
from inturn_worker.app import workflow_runner
from inturn_workflows.session import Session
from inturn_workflows.tick import Tick


def replayer(*, data_converter: DataConverter | None = None) -> Replayer:
    """Return a replayer of sessions' histories.

    ```python
    history = await client.get_workflow_handle("acme/order-17").fetch_history()
    await replayer().replay_workflow(history)    # raises where this code cannot go on with the session
    ```

    Args:
        data_converter: What reads the histories' payloads. Unset: as sessions' workers do, with the keys of
            `INTURN_ENCRYPTION_KEYS` where there are some.

    Raises:
        Misconfigured: These keys cannot be read.
    """
    converter = data_converter or encryption.data_converter()
    # The SDK ends a replay of more than 2 s midway as a deadlock, can then not evict it, and waits for ever: after a
    # flood that is one task. Its debug mode is the one way to say that there is no such bound.
    return Replayer(
        workflows=[Session, Tick],
        data_converter=converter,
        workflow_runner=workflow_runner(converter),
        debug_mode=True,
        header_codec_behavior=HeaderCodecBehavior.CODEC if converter.payload_codec else HeaderCodecBehavior.NO_CODEC,
    )
