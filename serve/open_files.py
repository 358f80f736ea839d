"""As many open files as this process may have: every client's connection is one."""

import resource

ENOUGH = 65535


def allow_open_files() -> int:
    """Raise the soft limit to the hard one, or to 65,535 if that is less; returns what it is then.

    vLLM asks for 65,535 and, where the hard limit is lower, keeps the soft one, often 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ENOUGH
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
