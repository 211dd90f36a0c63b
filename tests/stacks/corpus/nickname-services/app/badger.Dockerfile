FROM crew/otter
ENTRYPOINT ["celery", "--app=crew.digging"]
CMD ["worker", "--loglevel=INFO", "--pool=threads", "--concurrency=8"]
