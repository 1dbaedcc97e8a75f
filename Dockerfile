# docker build -t bertsmith . && docker run -p 8000:8000 -e BERTSMITH_API_KEY=... bertsmith
# Serves the models that the package brings; append NAME=/models/FOLDER and mount /models for others.
FROM python:3.12-slim

RUN useradd --create-home bertsmith
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir '.[serve]'

USER bertsmith
EXPOSE 8000
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz')"
# Without a shell in between, SIGTERM reaches the service, which answers what it has accepted.
ENTRYPOINT ["bertsmith", "serve", "--host", "0.0.0.0"]
