"""The program `invert-jax` from a checkout: python -m experiments.invert_image --help says what it does."""

from invert_jax import cli

if __name__ == "__main__":
    cli.main()
