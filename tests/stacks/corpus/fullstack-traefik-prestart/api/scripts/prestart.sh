#!/usr/bin/env bash
set -ex
# wait until the database answers, then bring the tables up to date
python app/wait_for_db.py
alembic upgrade head
python app/first_admin.py
