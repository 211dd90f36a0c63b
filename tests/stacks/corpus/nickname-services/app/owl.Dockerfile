FROM crew/otter
ENTRYPOINT ["celery", "--app=crew.digging"]
CMD ["beat", "--loglevel=INFO", "--schedule=/tmp/owl"]
