-- Runs once, when the volume is initialised. The image reads the password from the secret's file.
\getenv password POSTGRES_PASSWORD

-- MLflow's role owns only its database: a superuser could run programs on the database's host.
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;

-- Without a password the superuser can log in only through the Unix socket inside the container.
ALTER ROLE postgres PASSWORD NULL;
