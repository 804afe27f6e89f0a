#!/usr/bin/env bash
# Fetches the message catalogs and help pages that the bundled model learns from, as Debian packages,
# and unpacks them (nothing is installed): scripts/fetch_catalogs.sh FOLDER
set -euo pipefail
folder=${1:?usage: fetch_catalogs.sh FOLDER}
packages=(
  abiword-common aptitude-common audacity-data calligra-l10n cantor darktable deja-dup digikam-data dolphin
  epiphany-browser-data evolution-common evolution-data-server-common filezilla-common gcompris-qt-data gimp-data
  gnome-control-center-data gnome-software-common gnucash-common gnumeric-common gparted-common inkscape
  k3b-data kaddressbook kate5-data kbibtex-data kdenlive-data kdepim-runtime kdevelop-data kile kmail
  kmymoney-common konsole korganizer krita-l10n kstars-data ktorrent-data ktouch-data labplot-data marble-data
  nautilus-data okular pidgin-data plasma-desktop-data plasma-workspace-data remmina-common rhythmbox-data
  rkward-data scribus-data skrooge-common step synaptic tellico-data totem-common transmission-common umbrello
  vlc-l10n
)
help_languages=(en-us de fr es it pt ru pl sv zh-cn ja tr vi id hi fi ko)
mkdir -p "$folder/debs" "$folder/root"
cd "$folder/debs"
for package in "${packages[@]}" "${help_languages[@]/#/libreoffice-help-}"; do
  apt-get download -qq "$package" 2>/dev/null || echo "not in this release, left out: $package" >&2
done
for deb in *.deb; do dpkg -x "$deb" ../root; done
