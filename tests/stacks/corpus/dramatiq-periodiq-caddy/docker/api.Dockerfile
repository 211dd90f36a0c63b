FROM python:3.12-slim-bookworm
COPY . /opt/gannet
WORKDIR /opt/gannet
RUN python -m venv /venv && /venv/bin/pip install .
ENV PATH="/venv/bin:$PATH"
USER 1000:1000
CMD ["uvicorn", "gannet.main:api"]
