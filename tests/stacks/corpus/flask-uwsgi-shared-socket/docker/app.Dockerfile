FROM python:3.10-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends gcc libpcre3-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/portal
COPY requirements.txt .
RUN pip install -r requirements.txt uwsgi==2.0.26
COPY . .
CMD ["uwsgi", "--ini", "docker/uwsgi.ini"]
