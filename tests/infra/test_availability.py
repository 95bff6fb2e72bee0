"""How many pods run, where, and which are evicted first: autoscaler, disruption budget, spread, priorities."""

from tests.infra.program import Program, run_prod


def test_the_autoscaler_follows_the_cpu_load_between_its_bounds(prod: Program) -> None:
    spec = prod.find("HorizontalPodAutoscaler").inputs["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "neobank-deployment"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    [metric] = spec["metrics"]
    assert metric["type"] == "ContainerResource"  # or the container with the metrics would count, too
    assert metric["containerResource"] == {
        "container": "neobank",
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 70},
    }


def test_the_program_leaves_the_number_of_pods_to_the_autoscaler(prod: Program, dev: Program) -> None:
    scaled, fixed = (it.find("Deployment", "neobank-deployment") for it in (prod, dev))
    assert scaled.ignore_changes == ("spec.replicas",)
    assert scaled.inputs["spec"]["replicas"] == 2  # the initial number; without it the Deployment would start with 1
    assert fixed.ignore_changes == ()
    assert fixed.inputs["spec"]["replicas"] == 1
    # It takes the field back from the autoscaler's field manager when the autoscaler is switched off.
    assert {it.inputs["metadata"]["annotations"]["pulumi.com/patchForce"] for it in (scaled, fixed)} == {"true"}
    assert dev.of_kind("HorizontalPodAutoscaler") == []


def test_a_drain_takes_one_pod_at_a_time(prod: Program, dev: Program) -> None:
    spec = prod.find("PodDisruptionBudget").inputs["spec"]
    labels = dict(prod.pods())["neobank-deployment"]["metadata"]["labels"]
    assert spec["maxUnavailable"] == 1
    assert spec["selector"]["matchLabels"] == labels
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert dev.of_kind("PodDisruptionBudget") == []


def test_pods_of_one_version_are_spread_over_nodes_and_zones(prod: Program) -> None:
    pod = dict(prod.pods())["neobank-deployment"]
    constraints = pod["spec"]["topologySpreadConstraints"]
    assert [it["topologyKey"] for it in constraints] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for constraint in constraints:
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
        assert constraint["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]  # or pods of the old version would count, too


def test_the_database_outranks_the_bank_on_a_full_node(prod: Program, dev: Program) -> None:
    values = {f"{it.name}-1a2b3c4d": it.inputs["value"] for it in prod.of_kind("PriorityClass")}
    classes = {name: pod["spec"].get("priorityClassName") for name, pod in prod.pods()}
    assert values[classes["postgres-deployment"]] > values[classes["neobank-deployment"]] > 0
    assert classes["neobank-db-init"] is None
    assert dev.of_kind("PriorityClass") == []
    assert {pod["spec"].get("priorityClassName") for _, pod in dev.pods()} == {None}


def test_two_stacks_share_a_cluster(prod: Program, dev: Program) -> None:
    """Cluster-wide objects are auto-named, and all other objects are in the stack's namespace."""
    cluster_wide = [it for it in prod.kubernetes() if it.kind in {"PriorityClass", "Namespace"}]
    assert [it.object_name for it in cluster_wide if it.kind == "PriorityClass"] == ["", ""]
    namespaces = [
        {
            it.inputs["metadata"]["namespace"]
            for it in program.kubernetes()
            if it not in cluster_wide and it.kind != "Namespace"
        }
        for program in (prod, dev)
    ]
    assert namespaces == [{"neotropolis"}, {"neotropolis-dev"}]


def test_without_max_replicas_there_is_no_autoscaler() -> None:
    program = run_prod({"application": {"maxReplicas": None}})
    assert program.of_kind("HorizontalPodAutoscaler") == []
    assert program.find("Deployment", "neobank-deployment").ignore_changes == ()
