"""Over-optimisation of a learned reward: proxy and true reward against the square root of KL.

Gao, Schulman and Hilton 2023, "Scaling laws for reward model overoptimization" (arXiv:2210.10760): as a
policy moves away from where it began, by best-of-n or by RL, the proxy goes on rising while the true reward
rises, peaks and falls. Here the proxy is the reward an arm is trained with, and the true one correctness.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evals.wording import sentence
from trainer.failures.curves import Measured, Numbers
from trainer.failures.estimators import best_of_n, best_of_n_kl
from trainer.failures.intervals import Draw, bootstrap, mean_band

Array = NDArray[np.float64]
Proxies = dict[tuple[str, int, int], list[list[float]]]
"""The proxy of each reply by (arm, seed, step): of that arm's reward with that seed, problem by problem."""
PROXY, TRUE, KL = 0, 1, 2


def over_optimization_numbers(measured: Measured, proxies: Proxies) -> Numbers:
    """`routes`: best-of-n by the first arm's reward, then each arm of RL; see `route_numbers`."""
    first = next(iter(measured.arms.stages))
    routes = [_best_of_n(measured, first, proxies)]
    routes += [_trained(measured, arm, proxies) for arm in measured.arms.stages]
    return {"format": 1, "failure": "over-optimization", "seeds": list(measured.arms.seeds), "routes": routes}


def route_numbers(name: str, pressure: str, places: Sequence[int], values: Array) -> Numbers:
    """The curve of one way to optimise, and whether it over-optimises, as JSON values.

    values: [problems, seeds, places, 3], of proxy, true reward and KL (nats a reply). pressure: what `places`
    count. `proxy`, `true`, `kl`: means with limits. The peak of the true reward is found on half of the
    problems and its height taken on the other half, both ways, since the highest of noisy values is too high:
    `gain` from the start to it, `fall` from it to the end, and `proxy_after` the proxy's change meanwhile.
    """
    band = mean_band(values)
    test = bootstrap(lambda draw: _peak_test(values, draw), *values.shape[:2])
    peak = int(values[..., TRUE].mean((0, 1)).argmax())
    return {
        "name": name,
        "pressure": pressure,
        "places": list(places),
        "peak": peak,
        **{key: band.along(place) for key, place in (("proxy", PROXY), ("true", TRUE), ("kl", KL))},
        **{key: test.at(place).to_json() for place, key in enumerate(("gain", "fall", "proxy_after"))},
    }


def over_optimizes(route: Numbers) -> bool:
    """Whether the true reward is shown to have fallen from its peak while the proxy did not fall."""
    return route["fall"]["high"] < 0 and route["proxy_after"]["high"] >= 0


def sentences(numbers: Numbers) -> list[str]:
    """What the numbers show: a sentence of best-of-n, and one of RL."""
    selection, *trained = numbers["routes"]
    return [_sentence([selection]), _sentence(trained)]


def _sentence(routes: Sequence[Numbers]) -> str:
    return sentence("; ".join(map(_clause, routes)))


def _clause(route: Numbers) -> str:
    proxy, true, kl = (route[key]["mean"] for key in ("proxy", "true", "kl"))
    peak, places = route["peak"], route["places"]
    fall, gain = route["fall"], route["gain"]
    pressure = route["pressure"]
    head = (
        f"{route['name']} takes the proxy from {proxy[0]:.2f} to {proxy[-1]:.2f} at {kl[-1]:.2f} nats of KL"
    )
    numbers = f"{100 * fall['mean']:+.1f} points, {100 * fall['low']:+.1f} to {100 * fall['high']:+.1f}"
    start, top, end = (f"{100 * true[place]:.1f} %" for place in (0, peak, -1))
    if over_optimizes(route):
        gained = (
            f"rises from {start} to {top} at {pressure} {places[peak]} and falls to {end}"
            if gain["low"] > 0
            else f"falls from {top} at {pressure} {places[peak]} to {end}"
        )
        return f"{head}, while the true reward {gained} ({numbers} from its peak): over-optimisation"
    if gain["low"] > 0:
        return (
            f"{head}, and the true reward from {start} to {end} with no fall from its peak that is clear of "
            f"noise ({numbers}): over-optimisation is not shown"
        )
    return (
        f"{head}, and the true reward from {start} to {end} without a rise or a fall that is clear of noise "
        f"({numbers} from its peak): over-optimisation is not shown"
    )


def _best_of_n(measured: Measured, arm: str, proxies: Proxies) -> Numbers:
    """Best of n among the start's replies, by each seed's proxy."""
    replies = measured.by_problem(arm, measured.arms.seeds[0], 0)
    right = np.array([[float(reply.correct) for reply in its] for its in replies])
    sizes = [1]
    while 2 * sizes[-1] <= right.shape[1]:
        sizes.append(2 * sizes[-1])
    values = np.empty((len(replies), len(measured.arms.seeds), len(sizes), 3))
    for column, seed in enumerate(measured.arms.seeds):
        proxy = np.array(proxies[arm, seed, 0])
        for place, n in enumerate(sizes):
            values[:, column, place, PROXY] = best_of_n(proxy, proxy, n)
            values[:, column, place, TRUE] = best_of_n(proxy, right, n)
            values[:, column, place, KL] = best_of_n_kl(n)
    return route_numbers("best of n", "n =", sizes, values)


def _trained(measured: Measured, arm: str, proxies: Proxies) -> Numbers:
    values = measured.curve(
        arm, lambda replies: (0.0, _mean([r.correct for r in replies]), _mean([r.kl for r in replies]))
    )
    steps = measured.steps(arm)
    for column, seed in enumerate(measured.arms.seeds):
        for place, step in enumerate(steps):
            values[:, column, place, PROXY] = [_mean(its) for its in proxies[arm, seed, step]]
    return route_numbers(f"RL with {arm}", "step", steps, values)


def _peak_test(values: Array, draw: Draw) -> Array:
    """(gain, fall, proxy's change from the peak to the end), cross-fitted over even and odd problems."""
    problems, seeds = draw
    parts = [problems[problems % 2 == part] for part in (0, 1)]
    # Of very few problems a resample may be all even or all odd.
    halves = [values[part if len(part) else problems][:, seeds].mean((0, 1)) for part in parts]
    found = []
    for chosen, taken in (halves, halves[::-1]):
        peak = int(chosen[:, TRUE].argmax())
        found.append(
            (
                taken[peak, TRUE] - taken[0, TRUE],
                taken[-1, TRUE] - taken[peak, TRUE],
                taken[-1, PROXY] - taken[peak, PROXY],
            )
        )
    return np.mean(found, axis=0)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
