# The build stage has a compiler; the image that runs has Python, libpq and Ditto's wheels.
# A tag moves; a digest does not: --build-arg BASE=python:3.13-slim@sha256:… builds from one. .github/workflows/image.yml
# looks up the tag's and builds with it, renovate.json writes it here where Renovate is enabled.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libpq-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements requirements
RUN pip install --require-hashes --no-deps -r requirements/build.txt
# The pinned build tools are in place, so no build fetches its own. The packages have a layer of their own: a change to
# Ditto does not compile psycopg-c again.
RUN pip wheel --no-build-isolation --require-hashes --no-deps -r requirements/image.txt --wheel-dir /wheels
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ditto ditto
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .

FROM ${BASE}
LABEL org.opencontainers.image.title="Ditto" \
      org.opencontainers.image.description="Change data capture from PostgreSQL to NATS JetStream, Kafka, Redis, webhooks and files" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpq5 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 ditto \
    && useradd --uid 10001 --gid ditto --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ditto
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --root-user-action=ignore --no-index --no-deps /wheels/*.whl

# The compiled decoder or none: an image without it must not start.
# The heartbeat is written to memory: that works on a read-only root file system too.
ENV DITTO_IMPL=c \
    DITTO_HEALTH_FILE=/dev/shm/ditto.health \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes' runAsNonRoot can tell; it has a name because libpq looks for one.
USER 10001:10001
WORKDIR /
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["ditto", "health"]
ENTRYPOINT ["ditto"]
CMD ["run", "--config", "/etc/ditto/ditto.yaml"]
