"""The foreign-client judge: brokers to run against, builds, suites."""
