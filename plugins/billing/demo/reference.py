"""Who buys and what it costs: the demo's reference tables (data contract, "Reference data"), as the files have them.

For everybody: prices of the Automation API rise on 11 March, the unit of simple Model Derivative jobs shrinks
from 20 to 16 on 1 March, and the Flow Graph preview is free of charge. Buyers are invented; their names are in the
Latin script, which the fonts of the invoice have.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STORIES: Mapping[str, str] = MappingProxyType(
    {
        "auckland": "gets Sydney's hub on 20 February; its usage from then on, on its own anchor",
        "berlin": "enterprise agreement, then flex, unfunded between; no tokens for Flow Graph; 150 assets of capacity",
        "cairo": "uses only the Flow Graph preview at price 0: an invoice over 0.00, never charged",
        "dublin": "3 of 5 gigapixels a cycle: nothing is charged in the first, one unit in the second, by carry-over",
        "helsinki": "one unit on two flex grants; flex runs out in the second cycle, payg follows; reverse charge",
        "kolkata": "free only: what goes beyond the monthly allowance is unfunded, never invoiced",
        "kuwait": "dinars with three decimals; Flow Graph has no price in KWD: unfunded",
        "lodz": "parked: no tax rate of Poland is known; `reference-mended` brings it",
        "losangeles": "the heavy user: DST begins in its cycle; usage that came a week late; an app moves to New York",
        "madrid": "pay as you go ended on 20 February: final invoice of five days; late usage is still paid by it",
        "newyork": "buys pay as you go in the middle of a free cycle; gets an app of Los Angeles on 10 February",
        "paris": "bought on 31 January: cycles from 31 January, 29 February, 31 March; invoices in French; late usage",
        "saopaulo": "bought on 30 January: its second cycle begins on 29 February, its third on 30 March",
        "sydney": "loses its hub on 20 February; what waits in its carry-over stays",
        "tokyo": "bought on 29 February in Tokyo, 28 February in New York: yen, no decimals; two free subscriptions",
        "toronto": "has not bought anything: its usage waits in quarantine",
        "vienna": "no VAT id: Austrian tax; a correction in time, and one after the close that leaves a credit",
    }
)
"""By team, what it shows."""

TABLES: Mapping[str, str] = MappingProxyType(
    {
        "seller": """\
legal_name,address_line1,postal_code,city,country,vat_id,invoice_prefix,time_zone,iban,email
Example Platform SAS,1 rue Exemple,75002,Paris,FR,FR40303265045,INV,Europe/Paris,\
FR7630006000011234567890189,billing@example.com
""",
        "customers": """\
customer_id,legal_name,address_line1,address_line2,postal_code,city,region,country,vat_id,email,locale
c-atelier,Atelier Numérique SARL,14 rue des Forges,Bâtiment B,75011,Paris,,FR,FR83404833048,compta@atelier.example,fr-FR
c-cairo,Nile Graph Laboratory LLC,8 Tahrir Street,,11511,Cairo,,EG,,finance@nilegraph.example,en-GB
c-dublin,Liffey Models Ltd,3 Custom House Quay,,D01 KF84,Dublin,,IE,IE6433435F,accounts@liffey.example,en-IE
c-hooghly,Hooghly Students Collective,27 College Street,,700073,Kolkata,West Bengal,IN,,team@hooghly.example,en-IN
c-kuwait,Kuwait Build W.L.L.,"Al Hamra Tower, floor 41",,13001,Kuwait City,,KW,,ap@kuwaitbuild.example,en-GB
c-lodz,Pracownia Łódź Anna Wiśniewska,ul. Piotrkowska 86,,90-103,Łódź,,PL,,biuro@pracownia.example,pl-PL
c-metro,Metro Diseño S.A.,Calle de Alcalá 42,,28014,Madrid,,ES,ESA28015865,facturas@metro.example,es-ES
c-paulista,São Paulo Engenharia Ltda,Avenida Paulista 1578,,01310-200,São Paulo,SP,BR,,fiscal@paulista.example,pt-BR
c-pohjola,Pohjola Rakennus Oy,Mannerheimintie 10,,00100,Helsinki,,FI,FI01120389,laskut@pohjola.example,fi-FI
c-spree,Spree Statik GmbH,Köpenicker Straße 16,,10997,Berlin,,DE,DE136695976,buchhaltung@spree.example,de-DE
c-sunset,Sunset Render Studios Inc.,6922 Hollywood Boulevard,Suite 900,90028,Los Angeles,CA,US,,ap@sunset.example,en-US
c-tasman,Tasman Survey Pty Ltd,1 Macquarie Street,,2000,Sydney,NSW,AU,,accounts@tasman.example,en-AU
c-tokyo,Tokyo Kaiseki K.K.,2-7-1 Marunouchi,Chiyoda-ku,100-0005,Tokyo,,JP,T7000012050002,keiri@kaiseki.example,ja-JP
c-toronto,Toronto Trial Inc.,100 Queen Street West,,M5H 2N2,Toronto,ON,CA,,hello@trial.example,en-CA
c-vienna,Wiener Stiegenbau Huber,Praterstraße 25,,1020,Wien,,AT,,buero@stiegenbau.example,de-AT
""",
        "teams": """\
team_id,customer_id,name
auckland,c-tasman,Auckland surveyors
berlin,c-spree,Berlin statics
cairo,c-cairo,Cairo graphs
dublin,c-dublin,Dublin scans
helsinki,c-pohjola,Helsinki point clouds
kolkata,c-hooghly,Kolkata students
kuwait,c-kuwait,Kuwait towers
lodz,c-lodz,Łódź catalogue
losangeles,c-sunset,Los Angeles render farm
madrid,c-metro,Madrid metro
newyork,c-sunset,New York digital twins
paris,c-atelier,Paris drawing office
saopaulo,c-paulista,São Paulo façades
sydney,c-tasman,Sydney surveyors
tokyo,c-tokyo,Tokyo conversions
toronto,c-toronto,Toronto trial
vienna,c-vienna,Vienna staircases
""",
        "hubs": """\
hub_id,name
hub-berlin,Spree Statik
hub-cairo,Nile Graph
hub-dublin,Liffey
hub-helsinki,Pohjola
hub-kolkata,Hooghly
hub-kuwait,Kuwait Build
hub-lodz,Pracownia
hub-losangeles,Sunset West
hub-madrid,Metro
hub-newyork,Sunset East
hub-paris,Atelier
hub-saopaulo,Paulista
hub-tasman,Tasman
hub-tokyo,Kaiseki
hub-toronto,Trial
hub-vienna,Stiegenbau
""",
        "hub_teams": """\
hub_id,team_id,valid_from,valid_to
hub-berlin,berlin,2024-01-01T00:00:00Z,
hub-cairo,cairo,2024-01-01T00:00:00Z,
hub-dublin,dublin,2024-01-01T00:00:00Z,
hub-helsinki,helsinki,2024-01-01T00:00:00Z,
hub-kolkata,kolkata,2024-01-01T00:00:00Z,
hub-kuwait,kuwait,2024-01-01T00:00:00Z,
hub-lodz,lodz,2024-01-01T00:00:00Z,
hub-losangeles,losangeles,2024-01-01T00:00:00Z,
hub-madrid,madrid,2024-01-01T00:00:00Z,
hub-newyork,newyork,2024-01-01T00:00:00Z,
hub-paris,paris,2024-01-01T00:00:00Z,
hub-saopaulo,saopaulo,2024-01-01T00:00:00Z,
hub-tasman,sydney,2024-01-01T00:00:00Z,2024-02-20T03:00:00Z
hub-tasman,auckland,2024-02-20T03:00:00Z,
hub-tokyo,tokyo,2024-01-01T00:00:00Z,
hub-toronto,toronto,2024-01-01T00:00:00Z,
hub-vienna,vienna,2024-01-01T00:00:00Z,
""",
        "apps": """\
app_id,name
berlin-statics,Statics
cairo-graphs,Graph laboratory
dublin-scans,Scans
helsinki-clouds,Point clouds
helsinki-drawings,Drawings
kolkata-campus,Campus
kuwait-towers,Towers
lodz-catalogue,Catalogue
losangeles-farm,Render farm
losangeles-preview,Preview
madrid-metro,Metro lines
newyork-twin,Digital twin
paris-drawings,Drawing checker
paris-viewer,Viewer
saopaulo-facades,Façades
sunset-batch,Night batch
tasman-terrain,Terrain
tokyo-converter,Converter
toronto-trial,Trial
vienna-stairs,Staircases
""",
        "app_hubs": """\
app_id,hub_id,valid_from,valid_to
berlin-statics,hub-berlin,2024-01-01T00:00:00Z,
cairo-graphs,hub-cairo,2024-01-01T00:00:00Z,
dublin-scans,hub-dublin,2024-01-01T00:00:00Z,
helsinki-clouds,hub-helsinki,2024-01-01T00:00:00Z,
helsinki-drawings,hub-helsinki,2024-01-01T00:00:00Z,
kolkata-campus,hub-kolkata,2024-01-01T00:00:00Z,
kuwait-towers,hub-kuwait,2024-01-01T00:00:00Z,
lodz-catalogue,hub-lodz,2024-01-01T00:00:00Z,
losangeles-farm,hub-losangeles,2024-01-01T00:00:00Z,
losangeles-preview,hub-losangeles,2024-01-01T00:00:00Z,
madrid-metro,hub-madrid,2024-01-01T00:00:00Z,
newyork-twin,hub-newyork,2024-01-01T00:00:00Z,
paris-drawings,hub-paris,2024-01-01T00:00:00Z,
paris-viewer,hub-paris,2024-01-01T00:00:00Z,
saopaulo-facades,hub-saopaulo,2024-01-01T00:00:00Z,
sunset-batch,hub-losangeles,2024-01-01T00:00:00Z,2024-02-10T18:30:00Z
sunset-batch,hub-newyork,2024-02-10T18:30:00Z,
tasman-terrain,hub-tasman,2024-01-01T00:00:00Z,
tokyo-converter,hub-tokyo,2024-01-01T00:00:00Z,
toronto-trial,hub-toronto,2024-01-01T00:00:00Z,
vienna-stairs,hub-vienna,2024-01-01T00:00:00Z,
""",
        "apis": """\
api,name,usage_unit,billing
automation,Automation API,processing minute,rated
model_derivative_complex,Model Derivative (complex),job,rated
model_derivative_simple,Model Derivative (simple),job,rated
reality_capture,Reality Capture,gigapixel,rated
flow_graph,Flow Graph,processing minute,rated
data_management,Data Management,call,unrated
info_assets,Info assets,asset,capacity
""",
        "unit_rates": """\
api,valid_from,unit_size,tokens_per_unit
automation,2024-01-01T00:00:00Z,20,0.7
model_derivative_complex,2024-01-01T00:00:00Z,5,1.5
model_derivative_simple,2024-01-01T00:00:00Z,20,0.4
model_derivative_simple,2024-03-01T00:00:00Z,16,0.4
reality_capture,2024-01-01T00:00:00Z,5,2.5
flow_graph,2024-01-01T00:00:00Z,10,
""",
        "unit_prices": """\
api,currency,valid_from,unit_price
automation,EUR,2024-01-01T00:00:00Z,2.40
automation,EUR,2024-03-11T00:00:00Z,2.65
automation,USD,2024-01-01T00:00:00Z,2.60
automation,USD,2024-03-11T00:00:00Z,2.85
automation,JPY,2024-01-01T00:00:00Z,390
automation,JPY,2024-03-11T00:00:00Z,427.5
automation,KWD,2024-01-01T00:00:00Z,0.805
automation,KWD,2024-03-11T00:00:00Z,0.880
model_derivative_complex,EUR,2024-01-01T00:00:00Z,4.50
model_derivative_complex,USD,2024-01-01T00:00:00Z,4.90
model_derivative_complex,JPY,2024-01-01T00:00:00Z,732.5
model_derivative_complex,KWD,2024-01-01T00:00:00Z,1.515
model_derivative_simple,EUR,2024-01-01T00:00:00Z,1.175
model_derivative_simple,USD,2024-01-01T00:00:00Z,1.275
model_derivative_simple,JPY,2024-01-01T00:00:00Z,190.25
model_derivative_simple,KWD,2024-01-01T00:00:00Z,0.3935
reality_capture,EUR,2024-01-01T00:00:00Z,6.75
reality_capture,USD,2024-01-01T00:00:00Z,7.35
reality_capture,JPY,2024-01-01T00:00:00Z,1100
reality_capture,KWD,2024-01-01T00:00:00Z,2.260
flow_graph,EUR,2024-01-01T00:00:00Z,0
flow_graph,USD,2024-01-01T00:00:00Z,0
flow_graph,JPY,2024-01-01T00:00:00Z,0
""",
        "subscriptions": """\
subscription_id,team_id,kind,purchased_at,time_zone,ends_at,currency,payment_method_id
auckland-payg,auckland,payg,2024-02-14T21:00:00Z,Pacific/Auckland,,USD,pm-tasman
berlin-ea,berlin,token_flex,2024-01-16T08:00:00Z,Europe/Berlin,2025-01-16T00:00:00Z,,
berlin-flex,berlin,flex,2024-02-20T13:00:00Z,Europe/Berlin,,,
berlin-assets,berlin,capacity,2024-01-16T08:30:00Z,Europe/Berlin,,,
cairo-payg,cairo,payg,2024-01-25T09:00:00Z,Africa/Cairo,,USD,pm-cairo
dublin-payg,dublin,payg,2024-01-28T11:00:00Z,Europe/Dublin,,EUR,
helsinki-flex,helsinki,flex,2024-01-17T07:30:00Z,Europe/Helsinki,,,
helsinki-payg,helsinki,payg,2024-01-17T07:05:00Z,Europe/Helsinki,,EUR,pm-pohjola
kolkata-free,kolkata,free,2024-01-19T20:00:00Z,Asia/Kolkata,,,
kuwait-payg,kuwait,payg,2024-01-23T21:30:00Z,Asia/Kuwait,,KWD,pm-kuwait
lodz-payg,lodz,payg,2024-02-12T09:30:00Z,Europe/Warsaw,,EUR,pm-lodz
losangeles-free,losangeles,free,2024-01-18T16:00:00Z,America/Los_Angeles,,,
losangeles-payg,losangeles,payg,2024-02-01T17:00:00Z,America/Los_Angeles,,USD,pm-sunset
madrid-payg,madrid,payg,2024-01-16T09:00:00Z,Europe/Madrid,2024-02-20T11:00:00Z,EUR,pm-metro
newyork-assets,newyork,capacity,2024-02-07T15:20:00Z,America/New_York,,,
newyork-free,newyork,free,2024-01-19T14:00:00Z,America/New_York,,,
newyork-payg,newyork,payg,2024-02-07T15:20:00Z,America/New_York,,USD,pm-sunset
paris-free,paris,free,2024-01-15T08:12:00Z,Europe/Paris,,,
paris-payg,paris,payg,2024-01-31T10:40:00Z,Europe/Paris,,EUR,pm-atelier
saopaulo-payg,saopaulo,payg,2024-01-30T18:00:00Z,America/Sao_Paulo,,USD,pm-paulista
sydney-payg,sydney,payg,2024-01-22T23:30:00Z,Australia/Sydney,,USD,pm-tasman
tokyo-free,tokyo,free,2024-01-16T03:00:00Z,Asia/Tokyo,,,
tokyo-free-partner,tokyo,free,2024-02-05T03:00:00Z,Asia/Tokyo,,,
tokyo-payg,tokyo,payg,2024-02-29T01:15:00Z,Asia/Tokyo,,JPY,pm-tokyo
unassigned-flex,,flex,2024-03-05T12:00:00Z,Europe/Paris,,,
vienna-free,vienna,free,2024-01-29T07:45:00Z,Europe/Vienna,,,
vienna-payg,vienna,payg,2024-01-29T07:45:00Z,Europe/Vienna,,EUR,pm-vienna
""",
        "free_allowances": """\
subscription_id,api,units_per_period
kolkata-free,automation,15
kolkata-free,model_derivative_simple,5
losangeles-free,automation,10
losangeles-free,model_derivative_simple,10
newyork-free,model_derivative_complex,10
newyork-free,reality_capture,2
paris-free,automation,10
paris-free,model_derivative_complex,5
paris-free,model_derivative_simple,5
tokyo-free,model_derivative_complex,20
tokyo-free,model_derivative_simple,10
tokyo-free-partner,model_derivative_complex,30
vienna-free,automation,5
""",
        "token_grants": """\
grant_id,subscription_id,tokens,valid_from,expires_at
berlin-ea-2024,berlin-ea,185,2024-01-16T08:00:00Z,2025-01-16T00:00:00Z
berlin-flex-1,berlin-flex,300,2024-02-20T13:00:00Z,2025-02-20T00:00:00Z
helsinki-flex-1,helsinki-flex,60.3,2024-01-17T07:30:00Z,2025-01-17T00:00:00Z
helsinki-flex-2,helsinki-flex,150,2024-01-26T10:00:00Z,2025-01-26T00:00:00Z
unassigned-flex-1,unassigned-flex,100,2024-03-05T12:00:00Z,2025-03-05T00:00:00Z
""",
        "capacity_grants": """\
grant_id,subscription_id,api,quantity,valid_from,expires_at
berlin-assets-1,berlin-assets,info_assets,150,2024-01-16T08:30:00Z,2025-01-16T00:00:00Z
newyork-assets-1,newyork-assets,info_assets,500,2024-02-07T15:20:00Z,2024-05-07T00:00:00Z
""",
        "payment_methods": """\
payment_method_id,customer_id,gateway,token,brand,last4,expires
pm-atelier,c-atelier,demo-pay,tok_atelier,visa,4242,2027-08
pm-cairo,c-cairo,demo-pay,tok_cairo,mastercard,4444,2026-11
pm-kuwait,c-kuwait,demo-pay,tok_kuwait,visa,1881,2027-01
pm-lodz,c-lodz,demo-pay,tok_lodz,mastercard,5100,2028-03
pm-metro,c-metro,demo-pay,tok_metro,visa,0005,2025-12
pm-paulista,c-paulista,demo-pay,tok_paulista,mastercard,8210,2027-06
pm-pohjola,c-pohjola,demo-pay,tok_pohjola,mastercard,0057,2026-02
pm-sunset,c-sunset,demo-pay,tok_sunset,amex,0126,2028-10
pm-tasman,c-tasman,demo-pay,tok_tasman,visa,0077,2027-05
pm-tokyo,c-tokyo,demo-pay,tok_tokyo,jcb,0505,2026-09
pm-vienna,c-vienna,demo-pay,tok_vienna,visa,3220,2026-12
""",
        "team_members": """\
user,team_id,role
ada,berlin,buyer
ben,losangeles,developer
""",
        "tax_rates": """\
country,valid_from,percent
FR,2014-01-01,20
AT,1984-01-01,20
DE,2021-01-01,19
ES,2012-09-01,21
FI,2013-01-01,24
FI,2024-09-01,25.5
IE,2021-03-01,23
""",
    }
)
"""By table, the text of its file."""

MEMBERS: Mapping[str, str] = MappingProxyType(
    {
        "ada": "buyer of Berlin: sees that team only",
        "ben": "developer of Los Angeles: sees what its apps used, no balances, no money",
    }
)
"""By user of ``team_members``, what they see."""

MENDED_COUNTRY = "PL"
MENDED: Mapping[str, str] = MappingProxyType(
    {**TABLES, "tax_rates": f"{TABLES['tax_rates']}{MENDED_COUNTRY},2011-01-01,23\n"}
)
"""The tables with the row that the parked team waits for."""
