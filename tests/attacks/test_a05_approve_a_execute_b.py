"""A5: something else is executed than what was approved."""

from __future__ import annotations

from attack_world import approved_run, judge, reason_of

from placet.core.encoding import sha256_hex
from placet.core.errors import Reason
from placet.core.verify import UnsafeAnyAction
from placet.testing.world import ALICE, BOB, World, artifact, expected_of


def test_a5_the_image_is_swapped_after_approval() -> None:
    world = World()
    request = world.request_deploy(b"approved image")
    bundle, expected = world.bundle(request, ALICE, BOB), expected_of(request)
    assert judge(world, bundle, expected).people == (ALICE, BOB)
    swapped = expected._replace(subjects=frozenset({"sha256:" + sha256_hex(b"malicious image")}))
    assert reason_of(world, bundle, swapped) is Reason.ARTIFACT_MISMATCH


def test_a5_the_same_image_is_deployed_elsewhere() -> None:
    world = World()
    request = world.request_deploy()
    elsewhere = expected_of(request)._replace(target="k8s://prod-us/ns/shop/deploy/app")
    assert reason_of(world, world.bundle(request, ALICE, BOB), elsewhere) is Reason.TARGET_MISMATCH


def test_a5_the_plan_changes_after_approval() -> None:
    world = World()
    bundle, expected = approved_run(world)
    assert expected.parameters is not None
    for name, value in (
        ("argv", ["/usr/bin/true", "--force"]),
        ("environment", {"LD_PRELOAD": "/tmp/evil.so"}),
        ("workingDirectory", "/tmp"),
        ("executable", {"path": "/usr/bin/true", "digest": {"sha256": "0" * 64}}),
    ):
        other = expected._replace(parameters={**expected.parameters, name: value})
        assert reason_of(world, bundle, other) is Reason.PARAMETERS_MISMATCH


def test_a5_an_approval_of_one_kind_of_action_serves_no_other() -> None:
    world = World()
    bundle, expected = approved_run(world)
    other = expected._replace(action_type="https://placet.dev/actions/release/v1")
    assert reason_of(world, bundle, other) is Reason.ACTION_MISMATCH


def test_a5_an_input_file_is_added_removed_or_replaced() -> None:
    world = World()
    files = [artifact("a", b"a"), artifact("b", b"b")]
    request = world.request_run(argv=["/bin/sh", "a"], executable=b"x", inputs=files)
    bundle, expected = world.bundle(request, ALICE, BOB), expected_of(request)
    a, b, c = (f"sha256:{sha256_hex(data)}" for data in (b"a", b"b", b"c"))
    assert judge(world, bundle, expected).use_units == ("action",)
    for subjects in ({a}, {a, b, c}, {a, c}, set()):
        assert (
            reason_of(world, bundle, expected._replace(subjects=frozenset(subjects)))
            is Reason.ARTIFACT_MISMATCH
        )


def test_a5_one_artifact_of_a_release_is_not_another() -> None:
    world = World()
    request = world.request_release({"a.whl": b"a", "b.whl": b"b"})
    bundle, expected = world.bundle(request, ALICE, BOB), expected_of(request)
    only_b = expected._replace(subjects=frozenset({f"sha256:{sha256_hex(b'b')}"}))
    assert judge(world, bundle, only_b).use_units == (f"sha256:{sha256_hex(b'b')}",)
    evil = expected._replace(subjects=frozenset({f"sha256:{sha256_hex(b'evil')}"}))
    assert reason_of(world, bundle, evil) is Reason.ARTIFACT_MISMATCH


def test_a5_a_gate_that_acts_on_the_statement_itself_need_not_repeat_its_parameters() -> None:
    world = World()
    bundle, expected = approved_run(world)
    assert (
        judge(world, bundle, expected._replace(parameters=None)).statement.parameters == expected.parameters
    )


def test_a5_looking_at_any_action_is_possible_and_says_why() -> None:
    world = World()
    request = world.request_release({"a.whl": b"a", "b.whl": b"b"})
    seen = judge(world, world.bundle(request, ALICE, BOB), UnsafeAnyAction("an auditor looks at it"))
    assert len(seen.use_units) == 2


def test_a5_using_nothing_of_a_release_is_no_use() -> None:
    world = World()
    request = world.request_release({"a.whl": b"a"})
    nothing = expected_of(request)._replace(subjects=frozenset())
    assert reason_of(world, world.bundle(request, ALICE, BOB), nothing) is Reason.ARTIFACT_MISMATCH
