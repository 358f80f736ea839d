"""Load tests: how late and how right replies are when requests come faster than a server can answer them."""
