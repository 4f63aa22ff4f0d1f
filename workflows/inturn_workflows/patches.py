"""What a release does otherwise than those before it, in a way that a recorded history could tell: nothing yet.

Rule: once a version is released, its histories replay for ever (SUR-7). Whoever then changes which commands a workflow
gives, or their order, writes a gate here, a function that asks `workflow.patched`, with what was done before it in its
docstring; and asks it only where the old and the new way differ, because the first question in a run costs two events.
Gates change the shell alone: the inbox, the turn and the state stay pure.
"""
