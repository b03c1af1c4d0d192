# The build stage has a compiler; the image that runs has Python, libpq and Ditto's wheels.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libpq-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt pip setuptools wheel Cython
# The pinned build tools are in place, so no build fetches its own. psycopg-c is compiled in a layer of its own:
# a change to Ditto does not compile it again.
RUN pip wheel --no-build-isolation --no-deps -c constraints.txt --wheel-dir /wheels psycopg-c
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ditto ditto
RUN pip wheel --no-build-isolation -c constraints.txt --find-links /wheels --wheel-dir /wheels .

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Ditto" \
      org.opencontainers.image.description="Change data capture from PostgreSQL to NATS JetStream" \
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
