FROM example/bellframe:r118
USER root
RUN apt-get update && apt-get install -y --no-install-recommends cron
COPY conf/crontab /etc/cron.d/bellframe
RUN chmod 0644 /etc/cron.d/bellframe && crontab /etc/cron.d/bellframe
COPY conf/cron-entry.sh /cron-entry.sh
ENTRYPOINT ["/bin/bash", "/cron-entry.sh"]
CMD ["cron", "-f"]
