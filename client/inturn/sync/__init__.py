"""inturn without `await`: the same names, the same errors.

```python
from inturn.sync import Client

with Client() as client:
    print(client.session("order-17", agent="support").ask("Where is it?").text)
```

For scripts, WSGI applications, Celery tasks and plain functions of a notebook. All calls of a process run in one loop,
in a thread of its own that the first call starts. Where a loop runs already a call works, and holds that loop up for as
long as it takes: async code uses `inturn.Client`. Ctrl-C ends the call that waits; the turn goes on. After a fork
clients connect anew, each at its next call. Not for gevent or eventlet.
"""

from inturn.sync.client import Client, Cursor, Session, State

__all__ = ["Client", "Cursor", "Session", "State"]
