#!/bin/sh

if [ "$DATABASE" = "postgres" ]
then
    echo "looking for the database..."
    while ! nc -z $SQL_HOST $SQL_PORT; do
      sleep 0.2
    done
fi

exec "$@"
