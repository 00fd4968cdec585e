"""The chain itself as the publisher's `Ledger`: liteservers that must agree, proofs, and one wallet."""

from collections.abc import Sequence
from typing import Final

from attestd.chain.ledger import AccountStatus, SeenAccount, SeenRegistry, SeenTransaction, SeenWallet
from attestd.chain.liteservers import Liteservers
from attestd.chain.proof import ProvedAccount
from attestd.chain.reading import decode_state
from attestd.chain.state import CODE_HASH, RegistryState
from attestd.chain.transactions import Message, Transaction
from attestd.chain.wallet import Wallet
from attestd.errors import NotAuthentic
from attestd.transparency.checkpoint import verify_signatures
from attestd.tvm.address import Address

_NO_HASH: Final = bytes(32)


class OnChain:
    """A registry and the wallet that pays for it, read and written through the liteservers of a network."""

    def __init__(self, servers: Liteservers, registry: Address, wallet: Wallet, code_hash: bytes = CODE_HASH) -> None:
        """Keep what to read; nothing is opened yet."""
        self._servers = servers
        self._registry = registry
        self._wallet = wallet
        self._code_hash = code_hash

    async def registry(self) -> SeenRegistry:
        """Return the contract as of a recent block; what it stores only if it is active and its code is the pinned one.

        Raises `Unavailable`, also where its storage is none (`chain.state`).
        """
        proved = (await self._servers.account(self._registry)).account
        account = _seen(proved)
        if account.status is not AccountStatus.ACTIVE or account.code_hash != self._code_hash:
            return SeenRegistry(account=account)
        state = decode_state(proved)
        governance = state.governance
        return SeenRegistry(
            account=account,
            paused=state.paused,
            checkpoint=state.checkpoint,
            admin=governance.admin,
            threshold=governance.threshold,
            verifiers=governance.verifiers,
            max_validity=governance.max_validity,
            is_signed=self._is_signed(state),
        )

    def _is_signed(self, state: RegistryState) -> bool:
        """Judge as readers do: the contract looks at signatures only when they come, and verifiers may change then."""
        if state.checkpoint is None:
            return True
        try:
            verify_signatures(
                state.checkpoint,
                dict(state.signatures),
                dict(state.governance.verifiers),
                threshold=state.governance.threshold,
                global_id=self._servers.network.global_id,
                registry=self._registry,
            )
        except NotAuthentic:
            return False
        return True

    async def wallet(self) -> SeenWallet:
        """Return the wallet as of a recent block. Raises `Unavailable`, also where it is not this wallet's."""
        proved = (await self._servers.account(self._wallet.address)).account
        return SeenWallet(account=_seen(proved), seqno=self._wallet.seqno(proved.account))

    async def transactions(
        self, of: Address, *, since: int, last_lt: int, last_hash: bytes
    ) -> Sequence[SeenTransaction]:
        """Return the transactions of an account after `since`, newest first. Raises `Unavailable`."""
        found = await self._servers.transactions(of, since=since, last_lt=last_lt, last_hash=last_hash)
        return [_transaction(transaction) for transaction in found]

    async def send(self, message: bytes) -> None:
        """Hand an external message (BoC) to all liteservers. Raises `Unavailable` where none took it."""
        await self._servers.send(message)


def _seen(proved: ProvedAccount) -> SeenAccount:
    account = proved.account
    return SeenAccount(
        seqno=proved.shard_block.seqno,
        utime=proved.shard_utime,
        status=AccountStatus.ABSENT if account is None else account.status,
        balance=0 if account is None else account.balance,
        code_hash=None if account is None or account.code is None else account.code.hash,
        last_lt=proved.last_lt,
        last_hash=proved.last_hash,
    )


def _transaction(transaction: Transaction) -> SeenTransaction:
    message, compute, action = transaction.message, transaction.compute, transaction.action
    return SeenTransaction(
        lt=transaction.lt,
        hash=transaction.hash,
        utime=transaction.utime,
        message=_NO_HASH if message is None else _known(message),
        # What bounced is no request of anybody's, whatever stands in it.
        body=None if message is None or message.bounced else message.body,
        compute=None if compute is None else compute.exit_code,
        action=None if action is None else action.result_code,
        sent=tuple(sent.hash for sent in transaction.sent),
        fees=transaction.fees + sum(sent.fee for sent in transaction.sent),
    )


def _known(message: Message) -> bytes:
    """Return the hash to look for: whoever passes on what came from outside may have written its envelope anew."""
    return message.hash if message.source is not None else message.normalized_hash
