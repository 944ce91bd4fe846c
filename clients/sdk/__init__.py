"""What a national system needs to feed a node, read it, and check its answers.

Reading lists is in `clients.sdk.importing`, so that a system that only asks loads nothing it does not need.
"""

from clients.sdk.client import Node
from clients.sdk.connection import NodeError, NodeUnreachable

__all__ = ["Node", "NodeError", "NodeUnreachable"]
