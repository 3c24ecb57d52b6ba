-- Runs once, in an empty volume. The password comes as the image has it, from the file of the secret.
\getenv password POSTGRES_PASSWORD

-- MLflow owns its tables and nothing else: a superuser could run programs on the database's machine.
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;

-- The superuser comes in through the socket inside the container, and over no network.
ALTER ROLE postgres PASSWORD NULL;
