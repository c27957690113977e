"""The trace page: what every flow did, why, and where it failed. The extra `viewer`.

`open_viewer` serves it by itself, `create_app` makes an app to mount in yours.
"""

from agentflow.viewer._app import create_app as create_app
from agentflow.viewer._feed import Price as Price
from agentflow.viewer._live import LiveTrace as LiveTrace
from agentflow.viewer._serve import (
    Viewer as Viewer,
    ViewerOptions as ViewerOptions,
    open_viewer as open_viewer,
    serve_viewer as serve_viewer,
)
from agentflow.viewer._source import Source as Source
