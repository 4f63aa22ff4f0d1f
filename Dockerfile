# A worker: `docker run IMAGE MODULE:ATTR…`. Exactly the locked requirements, no compiler, not as root.
FROM python:3.13-slim-bookworm AS wheels
WORKDIR /src
COPY requirements-dev.txt ./
# What builds is of the locked version; for its own few requirements pip takes constraints, which have no hashes.
RUN sed '/--hash=/d; s/ \\$//' requirements-dev.txt > constraints.txt \
 && python -m venv /build && /build/bin/pip install --no-cache-dir --constraint constraints.txt hatchling
COPY pyproject.toml LICENSE ./
COPY scripts/dist scripts/
COPY client client
COPY workflows workflows
COPY activities activities
COPY service service
COPY gateway gateway
RUN VENV=/build scripts/dist /wheels

FROM python:3.13-slim-bookworm AS installed
COPY requirements.txt /src/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r /src/requirements.txt
COPY --from=wheels /wheels /wheels
RUN /venv/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM python:3.13-slim-bookworm
RUN useradd --create-home --uid 10001 inturn && install -d -o inturn /data
COPY --from=installed /venv /venv
WORKDIR /app
COPY examples examples
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 INTURN_LOG_FORMAT=json
USER inturn
VOLUME /data
ENTRYPOINT ["inturn", "worker"]
