"""Cocoon's root contract: which images and models its owner has approved, and the messages by which that changes.

The contract publishes hashes and nothing else: no expiry, no quorum of signers. One owner changes them at once, and may
replace the code of the contract as well. So what is read here is what that owner says, never more.

    fields.py      how the fields of its cells are read and written
    state.py       the state cell, struct versions 0 to 4
    messages.py    the bodies of the messages that its owner sends

Sources: the contract and its wrapper (TelegramMessenger/cocoon-contracts: contracts/cocoon_root.fc, contracts/utils.fc
and wrappers/CocoonRoot.ts), its TL-B (tonkeeper/tongo: abi/schemas/cocoon.xml); registry.md, Cocoon's root contract.
"""

from attestd.chain.cocoon.messages import (
    AddModelType,
    AddProxyType,
    AddWorkerType,
    ChangeFees,
    ChangeOwner,
    ChangeParams,
    DelModelType,
    DelProxyType,
    DelWorkerType,
    DoNotProcess,
    Message,
    RegisterProxy,
    Reset,
    UnregisterProxy,
    UpdateProxy,
    Upgrade,
    UpgradeContracts,
    UpgradeFull,
    dump_message,
    load_message,
)
from attestd.chain.cocoon.state import ROOT_ADDRESS, Params, RootState, dump_state, load_state

__all__ = [
    "ROOT_ADDRESS",
    "AddModelType",
    "AddProxyType",
    "AddWorkerType",
    "ChangeFees",
    "ChangeOwner",
    "ChangeParams",
    "DelModelType",
    "DelProxyType",
    "DelWorkerType",
    "DoNotProcess",
    "Message",
    "Params",
    "RegisterProxy",
    "Reset",
    "RootState",
    "UnregisterProxy",
    "UpdateProxy",
    "Upgrade",
    "UpgradeContracts",
    "UpgradeFull",
    "dump_message",
    "dump_state",
    "load_message",
    "load_state",
]
