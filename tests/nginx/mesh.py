"""An nginx whose resources are files, and whose workers each tell what they see."""

import json
import os
import shutil

from harness import cluster, get, write_resources

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Each worker puts JSON into the dictionary `seen` under its number; whichever gets the request tells of all.
SERVER = """
    server {
        listen 127.0.0.1:8080;
        location / {
            content_by_lua_block {
                for id = 0, ngx.worker.count() - 1 do
                    ngx.say(ngx.shared.seen:get(id) or "{}")
                end
            }
        }
    }
"""


def one_service(nginx):
    """A folder of resources with one service, for an nginx that has not been started."""
    os.mkdir(nginx.folder + "/xds")
    shutil.copy(TOP + "/tests/lua/xds/mesh.yaml", nginx.folder + "/xds/mesh.yaml")


class Mesh:
    """Begins with one service. Use it in a `with`."""

    def __init__(self, nginx):
        self.nginx = nginx

    def __enter__(self):
        one_service(self.nginx)
        self.nginx.__enter__()
        return self

    def __exit__(self, *details):
        self.nginx.__exit__(*details)

    def seen(self):
        """What each worker sees, in the order of their numbers."""
        try:
            return [json.loads(line) for line in get(8080).splitlines()]
        except OSError:
            return []

    def write(self, name, port=80):
        """A file with a cluster of one endpoint."""
        write_resources(self.nginx.folder + "/xds/" + name, [cluster(name, port=port)])

    def remove(self, name):
        os.remove(self.nginx.folder + "/xds/" + name)
