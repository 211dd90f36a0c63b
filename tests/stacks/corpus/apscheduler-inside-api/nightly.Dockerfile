FROM alpine:3.20
RUN apk add --no-cache postgresql16-client tzdata
COPY nightly.crontab /etc/crontabs/root
CMD ["crond", "-f", "-d", "8"]
