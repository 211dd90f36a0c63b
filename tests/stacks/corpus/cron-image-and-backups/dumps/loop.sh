echo "$AT pg_dumpall -U postgres | gzip > /dumps/\$(date +%F).sql.gz" | crontab -
exec crond -f -d 8
