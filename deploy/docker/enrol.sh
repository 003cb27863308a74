#!/bin/sh
# Enrols everybody of the compose plant once; keys of sites and enterprise go to each other first.
set -eu
base=/var/lib/undertone
enrol() { # PLACE ROLE NAME BUNDLE ARGUMENT...
    place=$1 role=$2 name=$3 bundle=$base/$4
    shift 4
    [ -e "$bundle/public.toml" ] ||
        aggregator enroll "$name" --settings "$base/$place/$role.toml" --out "$bundle" "$@"
}
enrol group enterprise group group/own --as enterprise
for site in north south; do
    enrol "$site" site "$site" "$site/own" --as site
    enrol group enterprise "$site" "$site/uplink" --as site --key "$base/$site/own/public.toml"
    enrol "$site" site group "$site/enterprise" --as enterprise --key "$base/group/own/public.toml"
    enrol "$site" site "$site-gateway" "$site-gateway" --as gateway
    enrol "$site" site "$site-sensors" "$site-sensors" --as sensors --gateway "$site-gateway"
    enrol "$site" site dashboard "$site-dashboard" --as dashboard
done
