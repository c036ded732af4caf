# The service as an image: git, Python, one virtual environment, one user without rights.
#
#   docker build -t asyncbuild .
#   docker run --read-only --tmpfs /tmp -v mirrors:/var/cache/asyncbuild -e ASYNCBUILD_... asyncbuild
#
# BASE may be any Debian-like image. Where it has no python3, its distribution's Python is installed
# (3.11 at least). The default is named by digest, so that two builds start from the same bytes; it is
# changed with each release. pip's own settings (a company's index, its certificate) come as build secrets and
# leave nothing in any layer:  --secret id=pip,src=pip.conf --secret id=ca,src=ca.pem
ARG BASE=docker.io/library/python:3.13-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

# What both stages run on. The distribution's Python is installed only where there is none.
FROM ${BASE} AS system
ENV DEBIAN_FRONTEND=noninteractive
RUN set -eu; \
    packages="ca-certificates git openssh-client tini"; \
    command -v python3 >/dev/null || packages="$packages python3-venv"; \
    apt-get update -qq; \
    apt-get install -qq -y --no-install-recommends $packages >/dev/null; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log

# The libraries first: this layer is built anew only when they change, not with every line of ours.
FROM system AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY deploy/locks deploy/locks
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    set -eu; \
    python3 -m venv /opt/asyncbuild; \
    /opt/asyncbuild/bin/pip install --quiet --require-hashes -r deploy/locks/service.txt; \
    python3 -m venv /opt/build; \
    /opt/build/bin/pip install --quiet --require-hashes -r deploy/locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY deploy deploy
COPY asyncbuild asyncbuild
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    set -eu; \
    /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .; \
    /opt/asyncbuild/bin/pip install --quiet --no-deps /tmp/wheel/*.whl; \
    /opt/asyncbuild/bin/pip check; \
    /opt/asyncbuild/bin/pip uninstall --quiet --yes pip setuptools

FROM system
LABEL org.opencontainers.image.title="asyncbuild" \
      org.opencontainers.image.description="Every branch built on every push: CodeCommit to CodeBuild, in order" \
      org.opencontainers.image.licenses="MIT"

# A fixed number, so that volumes and pod security policies can name it; no shell, no home.
# The two volumes are the only places written to: the root file system may be read-only. They are
# declared after they got their owner, because Fargate and Docker give a new volume the owner and
# mode that the directory has in the image.
RUN set -eu; \
    groupadd --system --gid 10001 asyncbuild; \
    useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin asyncbuild; \
    install -d -o asyncbuild -g asyncbuild -m 0750 /var/cache/asyncbuild
COPY --from=build /opt/asyncbuild /opt/asyncbuild
VOLUME ["/var/cache/asyncbuild", "/tmp"]

# No byte code is written at run time (pip compiled it); nothing is asked at a terminal; git reads
# no configuration but ours.
ENV PATH=/opt/asyncbuild/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GIT_TERMINAL_PROMPT=0 \
    GIT_CONFIG_NOSYSTEM=1

USER 10001:10001
WORKDIR /var/cache/asyncbuild
STOPSIGNAL SIGTERM

# Alive, not ready: a service that waits for AWS is not helped by being killed. (ECS and Kubernetes
# have their own probes and ignore this one.) It asks at status.listen, so it has to know the same
# settings as the service: variables, or a file that ASYNCBUILD_CONFIG names. (A file named by
# --config is known to that command alone.) The page is served to this container alone unless
# ASYNCBUILD_STATUS__LISTEN says 0.0.0.0:8080.
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["asyncbuild", "health"]

# PID 1 is tini. `git fetch` has children of its own (git-remote-https, index-pack); when a fetch is
# ended at its deadline they become children of PID 1, and Python as PID 1 reaps only processes it
# started: dead ones would pile up until the task has no process ids left. tini reaps them, hands
# SIGTERM on to the service, and ends with its exit code. `-s` lets it do so too where another
# init is PID 1 already (docker run --init, initProcessEnabled).
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "asyncbuild"]
CMD ["serve"]
