"""Judges a recorded campaign from the outside: was anything lost, invented, repeated, reordered or leaked?

Invariant: nothing here imports inturn, workflows or activities (but `replaying`, which replays histories on them). The
verdict rests on three records that the system under test did not write: the producers' log, the histories that the
Temporal server exported, and the ledger of effects that the tools' outside world kept.

    DIRECTORY/producers.jsonl   session | invoke | ok | fail | unknown … end
    DIRECTORY/effects.jsonl     model and tool bodies as the outside saw them
    DIRECTORY/faults.jsonl      plan, then each fault that was done
    DIRECTORY/histories/*.json  one file per run, as the server gives it
"""
