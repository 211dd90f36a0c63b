# cron forgets the environment, so it is written down first
printenv | grep -E '^(PG|DJANGO)' > /etc/environment
exec "$@"
