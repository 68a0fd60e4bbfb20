-- The Lua side alone: the library itself comes with `make install`. `luarocks make` in a checkout installs the rock.
package = "lua-resty-apisix-mesh"
version = "0.1.0-1"
supported_platforms = {"linux"}

source = {
    url = ".",
}

description = {
    summary = "The mesh library of nginx and Apache APISIX from Lua: what the control plane wants, as APISIX objects",
    license = "Apache-2.0",
}

-- LuaJIT. cjson is part of OpenResty and of APISIX, and a package of Debian's.
dependencies = {
    "lua ~> 5.1",
}

-- Not of the type "builtin", which takes along all of the folder lua: what is in lua/apisix has the names of modules of
-- the rock "apisix", and two rocks cannot both own them.
build = {
    type = "none",
    install = {
        lua = {
            ["resty.apisix_mesh"] = "lua/resty/apisix_mesh.lua",
            ["resty.apisix_mesh.ffi"] = "lua/resty/apisix_mesh/ffi.lua",
        },
    },
}
