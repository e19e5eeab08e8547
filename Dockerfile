FROM python:3.13-slim AS build
# The system's certificates, as pip takes them: where a proxy has its own, it is enough to put it there.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
WORKDIR /build
COPY requirements/uv.txt requirements/uv.txt
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --quiet --require-hashes -r requirements/uv.txt
RUN /opt/uv/bin/uv venv --quiet --no-python-downloads --python python /opt/bandstand
COPY requirements/base.txt requirements/base.txt
# Byte-compiled here: the image's user could not, and would compile again at every start.
RUN /opt/uv/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python /opt/bandstand/bin/python requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY prompts prompts
COPY src src
COPY clients/python clients/python
RUN /opt/uv/bin/uv pip install --quiet --compile-bytecode --no-deps --no-build-isolation --python /opt/bandstand/bin/python . ./clients/python

FROM python:3.13-slim
COPY --from=build /opt/bandstand /opt/bandstand
ENV PATH=/opt/bandstand/bin:$PATH STATE_DIR=/data
# The folder belongs to the user before it becomes a volume, so that a new volume does too.
RUN mkdir /data && chown 10001:10001 /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
# Without --start-interval, which older buildahs refuse; the composition has it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; probe = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); probe.request('GET', '/health'); sys.exit(probe.getresponse().status != 200)"]
# Without API_KEYS this refuses to start, unless ALLOW_OPEN=1 says that something in front decides who may call.
CMD ["bandstand", "serve", "--host", "0.0.0.0", "--port", "8000"]
