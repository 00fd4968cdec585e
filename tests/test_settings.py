"""Settings: where they come from, and every configuration that is refused, by the name of the setting."""

import os
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from attestd.errors import AttestdError, ConfigurationRefused, Reason
from attestd.policy import AppraisalPolicy
from attestd.settings import BUILT, SIMULATED, ChainSettings, Listener, Settings, load_anchors, now, shipped
from attestd.simulator import Vendor
from tests.refusals import misconfigured

AT = BUILT + timedelta(days=1)

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings whose state is below the test's own folder."""
    tmp_path.chmod(0o700)

    def load_(text: str | None = None, *, mode: int = 0o600, **environment: str) -> Settings:
        file = None
        if text is not None:
            file = tmp_path / "attestd.toml"
            file.write_text(text)
            file.chmod(mode)
        variables = {"ATTESTD_STATE_DIR": str(tmp_path / "state"), "PATH": "/bin"}
        variables |= {f"ATTESTD_{name.upper()}": value for name, value in environment.items()}
        return Settings.load(file, variables, AT)

    return load_


@pytest.fixture
def simulated_root(tmp_path: Path) -> str:
    root = tmp_path / "root.der"
    root.write_bytes(Vendor.of(seed="attestd", at=AT).root.der)
    return str(root)


def refused_by(name: str, load: Load, text: str | None = None, **how: object) -> None:
    with pytest.raises(AttestdError) as caught:
        load(text, **how)
    assert type(caught.value) is ConfigurationRefused
    assert caught.value.reason is Reason.SETTINGS
    assert caught.value.found.startswith(f"{name}: "), caught.value.found


class TestDefaults:
    def test_nothing_needs_to_be_named(self, load: Load, tmp_path: Path) -> None:
        settings = load()
        state = tmp_path / "state"
        assert settings.listen == Listener(ip_address("127.0.0.1"), 8080)
        assert settings.admin_listen == Listener(ip_address("127.0.0.1"), 8081)
        assert settings.database_url == f"sqlite:///{state}/attestd.db"
        assert settings.endorsements == state / "endorsements"
        assert settings.trust_anchors.genuine
        assert not settings.simulated
        assert (state.stat().st_mode & 0o777, settings.endorsements.stat().st_mode & 0o777) == (0o700, 0o700)

    def test_an_embedded_registry_keeps_its_name(self, load: Load) -> None:
        first, second = load().registry_id, load().registry_id
        assert first == second
        assert first.startswith("attestd:")

    def test_what_is_shipped_is_there(self) -> None:
        assert (shipped("certs") / "intel" / "sgx_root_ca.der").is_file()
        assert (shipped("policies") / "strict-tdx.toml").is_file()

    def test_no_policy_that_takes_any_image_is_in_force_by_itself(self, load: Load) -> None:
        settings = load()
        policy = AppraisalPolicy.load(settings.policies.read_bytes())
        assert policy.name == settings.default_policy
        assert policy.tdx is not None
        assert policy.tdx.images is not None

    def test_the_build_is_not_ahead(self) -> None:
        assert now() >= BUILT


class TestSources:
    def test_a_file(self, load: Load) -> None:
        settings = load('listen = "[::1]:9000"\nchallenge_lifetime = 60\nlog_level = "debug"\n')
        assert settings.listen == Listener(ip_address("::1"), 9000)
        assert (settings.challenge_lifetime, settings.log_level) == (60, "debug")

    def test_the_environment_wins(self, load: Load) -> None:
        assert load("challenge_lifetime = 60", challenge_lifetime="61").challenge_lifetime == 61

    def test_evidence_of_tests_is_no_setting(self, load: Load) -> None:
        load(evidence="/somewhere")

    def test_secrets_are_not_shown(self, load: Load) -> None:
        url = "postgresql://attestd:pa55word@localhost/attestd"
        settings = load(database_url=url, registry_id="registry")
        assert settings.database_url == url
        assert "pa55word" not in repr(settings)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("listenn", 'listenn = "127.0.0.1:1"'),
            ("Listen", 'Listen = "127.0.0.1:1"'),
            ("insecure", "insecure = true"),
            ("listen", "listen = 8080"),
            ("listen", 'listen = "8080"'),
            ("listen", 'listen = "localhost:8080"'),
            ("listen", 'listen = "127.0.0.1"'),
            ("listen", 'listen = "127.0.0.1:65536"'),
            ("listen", 'listen = "127.0.0.1:-1"'),
            ("listen", 'listen = ""'),
            ("registry_id", 'registry_id = ""'),
            ("registry_id", 'registry_id = "two words"'),
            ("registry_id", 'registry_id = "régistre"'),
            ("registry_id", f'registry_id = "{"x" * 129}"'),
            ("registry_id", "registry_id = 1"),
            ("challenge_lifetime", "challenge_lifetime = 0"),
            ("challenge_lifetime", "challenge_lifetime = 3601"),
            ("challenge_lifetime", 'challenge_lifetime = "60"'),
            ("challenge_lifetime", "challenge_lifetime = 60.0"),
            ("challenge_lifetime", "challenge_lifetime = true"),
            ("live_keys_per_platform", "live_keys_per_platform = 0"),
            ("requests_per_second_per_key", "requests_per_second_per_key = 0"),
            ("requests_per_second_per_address", "requests_per_second_per_address = -1"),
            ("log_level", 'log_level = "none"'),
            ("log_level", 'log_level = "INFO"'),
            ("danger_admin_listen_beyond_loopback", 'danger_admin_listen_beyond_loopback = "yes"'),
            ("danger_admin_listen_beyond_loopback", "danger_admin_listen_beyond_loopback = 1"),
            ("database_url", 'database_url = "mysql://localhost/x"'),
            ("database_url", 'database_url = "attestd.db"'),
            ("database_url", 'database_url = "http://[x"'),
            ("default_policy", 'default_policy = ""'),
            ("default_policy", 'default_policy = "a\\nb"'),
            ("config", "not toml"),
            ("config", "a = 1\na = 2"),
        ],
    )
    def test_in_the_file(self, load: Load, name: str, text: str) -> None:
        refused_by(name, load, text)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("unknown", "1"),
            ("challenge_lifetime", "sixty"),
            ("challenge_lifetime", "6_0"),
            ("challenge_lifetime", " 60"),
            ("challenge_lifetime", "٦٠"),
            ("challenge_lifetime", ""),
            ("challenge_lifetime", "9" * 5000),
            ("danger_admin_listen_beyond_loopback", "1"),
            ("danger_admin_listen_beyond_loopback", "True"),
            ("log_level", ""),
        ],
    )
    def test_in_the_environment(self, load: Load, name: str, value: str) -> None:
        refused_by(name, load, **{name: value})

    def test_a_clock_before_the_build(self, tmp_path: Path) -> None:
        """C47."""
        with misconfigured(Reason.CLOCK):
            Settings.load(None, {"ATTESTD_STATE_DIR": str(tmp_path)}, BUILT - timedelta(seconds=1))


class TestListeners:
    @pytest.mark.parametrize(
        ("listen", "admin"),
        [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:8081", "127.0.0.1:8081"),
        ],
    )
    def test_the_same(self, load: Load, listen: str, admin: str) -> None:
        refused_by("admin_listen", load, listen=listen, admin_listen=admin)

    def test_two_free_ports_are_two(self, load: Load) -> None:
        assert load(listen="127.0.0.1:0", admin_listen="127.0.0.1:0").listen.port == 0

    @pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "192.0.2.1", "[2001:db8::1]"])
    def test_an_admin_listener_for_others_must_be_called_what_it_is(self, load: Load, address: str) -> None:
        refused_by("admin_listen", load, admin_listen=f"{address}:9000")
        load(admin_listen=f"{address}:9000", danger_admin_listen_beyond_loopback="true")

    def test_the_danger_is_no_switch_for_anything_else(self, load: Load) -> None:
        refused_by("admin_listen", load, admin_listen="127.0.0.1:8080", danger_admin_listen_beyond_loopback="true")


class TestFiles:
    def test_a_file_that_others_can_write(self, load: Load) -> None:
        refused_by("config", load, "", mode=0o620)
        refused_by("config", load, "", mode=0o602)
        load("", mode=0o644)

    def test_a_password_that_others_can_read(self, load: Load) -> None:
        text = 'registry_id = "r"\ndatabase_url = "postgresql://attestd:pa55word@localhost/attestd"'
        refused_by("database_url", load, text, mode=0o640)
        load(text, mode=0o600)
        load(text.replace(":pa55word", ""), mode=0o644)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        for file in (tmp_path / "nowhere", tmp_path):
            with misconfigured(Reason.SETTINGS):
                Settings.load(file, {"ATTESTD_STATE_DIR": str(tmp_path / "state")}, AT)

    def test_a_file_that_is_too_large(self, load: Load) -> None:
        refused_by("config", load, "#" * 70_000)

    @pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
    def test_a_state_directory_that_others_can_enter(self, load: Load, tmp_path: Path, mode: int) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state").chmod(mode)
        refused_by("state_dir", load)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
    def test_a_state_directory_of_somebody_else(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir(mode=0o700)
        os.chown(tmp_path / "state", 12345, 12345)
        refused_by("state_dir", load)

    def test_a_state_directory_that_is_a_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("")
        refused_by("state_dir", load)

    def test_a_name_that_cannot_be_kept(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir(mode=0o700)
        (tmp_path / "state" / "registry-id").mkdir()
        refused_by("state_dir", load)


class TestDatabases:
    def test_a_shared_database_needs_a_name(self, load: Load) -> None:
        refused_by("registry_id", load, database_url="postgresql:///attestd")
        assert load(database_url="postgresql:///attestd", registry_id="shared").registry_id == "shared"

    @pytest.mark.parametrize("query", ["", "?sslmode=prefer", "?sslmode=require", "?sslmode=allow", "?x=verify-full"])
    @pytest.mark.parametrize("host", ["db.example", "192.0.2.1", "127.0.0.1.example"])
    def test_a_server_elsewhere_must_prove_who_it_is(self, load: Load, host: str, query: str) -> None:
        refused_by("database_url", load, database_url=f"postgresql://{host}/attestd{query}", registry_id="r")

    @pytest.mark.parametrize(
        "rest",
        [
            "db.example/x?sslmode=verify-full",
            "db.example/x?sslmode=verify-ca",
            "db.example/x?sslmode=disable",
            "localhost/x",
            "[::1]/x",
            "/x?host=/var/run/postgresql",
        ],
    )
    def test_or_plainly_say_that_it_does_not(self, load: Load, rest: str) -> None:
        load(database_url=f"postgresql://{rest}", registry_id="r")

    def test_a_host_in_the_options_is_one_too(self, load: Load) -> None:
        refused_by("database_url", load, database_url="postgresql:///x?host=db.example", registry_id="r")


class TestAnchors:
    """A20."""

    def test_simulated_anchors_make_a_simulated_registry(self, load: Load, simulated_root: str) -> None:
        settings = load(trust_anchors=simulated_root)
        assert settings.simulated
        assert settings.registry_id.startswith(SIMULATED)

    @pytest.mark.parametrize("name", ["ton:mainnet:EQAAAA", "registry", "attestd:0123"])
    def test_a_real_registry_never_stands_on_simulated_anchors(
        self, load: Load, simulated_root: str, name: str
    ) -> None:
        refused_by("registry_id", load, trust_anchors=simulated_root, registry_id=name)

    def test_nor_a_simulated_one_on_real_anchors(self, load: Load) -> None:
        refused_by("registry_id", load, registry_id="simulated:demo")

    def test_the_state_of_one_is_not_taken_for_the_other(self, load: Load, simulated_root: str) -> None:
        load(trust_anchors=simulated_root)
        refused_by("registry_id", load)

    @pytest.mark.parametrize("name", [None, "simulated:demo", "registry"])
    @pytest.mark.parametrize(
        ("vendor", "file"),
        [("intel", "intel/sgx_root_ca.der"), ("amd", "amd/ark_genoa.der"), ("nvidia", "nvidia/device_identity_ca.der")],
    )
    def test_a_vendor_s_root_is_never_mixed_with_others(
        self, load: Load, tmp_path: Path, simulated_root: str, vendor: str, file: str, name: str | None
    ) -> None:
        genuine, simulated = (shipped("certs") / file).read_bytes(), Path(simulated_root).read_bytes()
        folder = tmp_path / "roots"
        folder.mkdir()
        (folder / "a.der").write_bytes(genuine)
        (folder / "b.der").write_bytes(simulated)
        named = {} if name is None else {"registry_id": name}
        with pytest.raises(ConfigurationRefused) as caught:
            load(trust_anchors=str(folder), **named)
        which = f"trust_anchors: {folder}: roots of {vendor} beside SHA-256 {sha256(simulated).hexdigest()}"
        assert (caught.value.reason, caught.value.found) == (Reason.ANCHOR_MIXED, which)
        # Each by itself is taken.
        for lone, raw, is_simulated in (("genuine", genuine, False), ("simulated", simulated, True)):
            (tmp_path / f"{lone}.der").write_bytes(raw)
            assert load_anchors(tmp_path / f"{lone}.der").genuine is not is_simulated

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
    def test_what_is_no_root(self, load: Load, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.der").write_bytes(content)
        with pytest.raises(ConfigurationRefused):
            load(trust_anchors=str(tmp_path / "bad.der"))

    def test_none(self, tmp_path: Path) -> None:
        with misconfigured(Reason.SETTINGS):
            load_anchors(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with misconfigured(Reason.ANCHOR_MISSING):
            load_anchors(tmp_path / "empty")


class TestPublication:
    CHAIN: Final = {
        "chain_network": "network.json",
        "chain_wallet_key": "wallet-key",
        "chain_verifier_key": "verifier-key",
    }

    def test_nothing_is_published_unless_a_chain_is_named(self, load: Load) -> None:
        settings = load()
        assert (settings.chain, settings.epoch_interval, settings.checkpoint_validity) == (None, 60, 900)

    def test_an_embedded_registry_makes_its_log_key_once(self, load: Load, tmp_path: Path) -> None:
        file = load().log_key
        key = file.read_text()
        assert (file, len(bytes.fromhex(key))) == (tmp_path / "state" / "log-key", 32)
        assert file.stat().st_mode & 0o777 == 0o600
        assert load().log_key.read_text() == key

    def test_a_shared_registry_names_its_log_key(self, load: Load, tmp_path: Path) -> None:
        shared = load(database_url="postgresql:///attestd", registry_id="shared")
        assert not shared.log_key.exists()
        named = load(database_url="postgresql:///attestd", registry_id="shared", log_key=str(tmp_path / "key"))
        assert named.log_key == tmp_path / "key"

    def test_a_verifier_signs_no_log_and_names_no_key(self, load: Load, tmp_path: Path) -> None:
        cosign = {
            "cosign_of": "https://registry.example",
            "cosign_token": "token",
            "cosign_log_key": "registry+00000000+AA==",
            "cosign_leader": "07" * 32,
            "chain_network": "network.json",
            "chain_verifier_key": "verifier-key",
        }
        settings = load(database_url="postgresql:///copy", registry_id="shared", **cosign)
        assert (settings.log_key, settings.log_key.exists()) == (tmp_path / "state" / "log-key", True)

    def test_all_of_a_chain(self, load: Load) -> None:
        chain = known(load(**self.CHAIN, chain_cosigners="https://a.example,https://b.example").chain)
        assert chain.network == Path("network.json").absolute()
        assert chain.cosigners == ("https://a.example", "https://b.example")
        assert (chain.registry, chain.wallet_version, chain.spending_cap) == (None, "v5r1", 20)
        text = "\n".join(f'{name} = "{value}"' for name, value in self.CHAIN.items())
        chain = known(load(f'{text}\nchain_registry = "0:00"\nchain_cosigners = ["https://a.example"]').chain)
        assert (chain.registry, chain.cosigners) == ("0:00", ("https://a.example",))

    @pytest.mark.parametrize("missing", ["chain_wallet_key", "chain_verifier_key"])
    def test_a_chain_without_keys_is_refused(self, load: Load, missing: str) -> None:
        refused_by(missing, load, **{name: value for name, value in self.CHAIN.items() if name != missing})

    @pytest.mark.parametrize("name", ["chain_registry", "chain_wallet_key", "chain_verifier_key", "chain_cosigners"])
    def test_parts_of_a_chain_that_is_not_named_are_refused(self, load: Load, name: str) -> None:
        refused_by("chain_network", load, **{name: "something"})

    @pytest.mark.parametrize("text", ["chain_cosigners = 1", "chain_cosigners = [1]", 'chain_cosigners = [""]'])
    def test_what_is_no_list_of_texts_is_refused(self, load: Load, text: str) -> None:
        refused_by("chain_cosigners", load, text)

    def test_other_wallets_are_refused(self, load: Load) -> None:
        refused_by("chain_wallet_version", load, **self.CHAIN, chain_wallet_version="v3r2")


def known(chain: ChainSettings | None) -> ChainSettings:
    assert chain is not None
    return chain
