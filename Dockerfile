# A worker: `docker run IMAGE MODULE:ATTR…`. Exactly the locked requirements, no compiler, not as root.
FROM python:3.13-slim-bookworm AS build
COPY requirements.txt requirements-dev.txt /src/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r /src/requirements.txt
COPY client /src/client
# What builds the client is of the locked versions too; pip takes no hashes in constraints of a local directory.
RUN sed '/--hash=/d; s/ \\$//' /src/requirements-dev.txt > /src/constraints.txt \
 && PIP_CONSTRAINT=/src/constraints.txt /venv/bin/pip install --no-cache-dir --no-deps /src/client

FROM python:3.13-slim-bookworm
RUN useradd --create-home --uid 10001 inturn && install -d -o inturn /data
COPY --from=build /venv /venv
WORKDIR /app
COPY worker.py ./
COPY activities activities
COPY workflows workflows
COPY service service
COPY examples examples
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 INTURN_LOG_FORMAT=json
USER inturn
VOLUME /data
ENTRYPOINT ["python", "worker.py"]
