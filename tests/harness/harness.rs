//! Namespaces, hosts and packets for the tests.
