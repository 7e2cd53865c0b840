"""Cities of the world with public facts; populations and elevations are rounded.

Identifiers are those of GeoNames, as Open-Meteo's geocoding returns them. Offsets are minutes east
of Greenwich on the mock's only day, 2026-01-01, so the mock needs no time zone database.
"""

from typing import NamedTuple


class City(NamedTuple):
    """One place that the geocoding mock knows."""

    id: int
    name: str
    latitude: float
    longitude: float
    elevation: float  # metres
    feature_code: str  # GeoNames: PPLC is a capital, PPLA the seat of a region
    country_code: str
    country_id: int
    country: str
    admin1: str
    timezone: str
    utc_offset: int  # minutes
    population: int


# fmt: off
# ruff: disable[E501] - one city a line
CITIES: tuple[City, ...] = (
    City(2643743, "London", 51.50853, -0.12574, 25, "PPLC", "GB", 2635167, "United Kingdom", "England", "Europe/London", 0, 8961989),
    City(6058560, "London", 42.98339, -81.23304, 252, "PPL", "CA", 6251999, "Canada", "Ontario", "America/Toronto", -300, 422324),
    City(2988507, "Paris", 48.85341, 2.3488, 42, "PPLC", "FR", 3017382, "France", "Île-de-France", "Europe/Paris", 60, 2138551),
    City(2950159, "Berlin", 52.52437, 13.41053, 74, "PPLC", "DE", 2921044, "Germany", "State of Berlin", "Europe/Berlin", 60, 3426354),
    City(2867714, "Munich", 48.13743, 11.57549, 524, "PPLA", "DE", 2921044, "Germany", "Bavaria", "Europe/Berlin", 60, 1260391),
    City(3117735, "Madrid", 40.4165, -3.70256, 665, "PPLC", "ES", 2510769, "Spain", "Madrid", "Europe/Madrid", 60, 3255944),
    City(3128760, "Barcelona", 41.38879, 2.15899, 47, "PPLA", "ES", 2510769, "Spain", "Catalonia", "Europe/Madrid", 60, 1620343),
    City(3169070, "Rome", 41.89193, 12.51133, 20, "PPLC", "IT", 3175395, "Italy", "Lazio", "Europe/Rome", 60, 2318895),
    City(2267057, "Lisbon", 38.71667, -9.13333, 45, "PPLC", "PT", 2264397, "Portugal", "Lisbon", "Europe/Lisbon", 0, 517802),
    City(2657896, "Zurich", 47.36667, 8.55, 429, "PPLA", "CH", 2658434, "Switzerland", "Zurich", "Europe/Zurich", 60, 341730),
    City(2761369, "Vienna", 48.20849, 16.37208, 171, "PPLC", "AT", 2782113, "Austria", "Vienna", "Europe/Vienna", 60, 1691468),
    City(3067696, "Prague", 50.08804, 14.42076, 202, "PPLC", "CZ", 3077311, "Czechia", "Prague", "Europe/Prague", 60, 1165581),
    City(756135, "Warsaw", 52.22977, 21.01178, 113, "PPLC", "PL", 798544, "Poland", "Mazovia", "Europe/Warsaw", 60, 1702139),
    City(3054643, "Budapest", 47.49801, 19.03991, 104, "PPLC", "HU", 719819, "Hungary", "Budapest", "Europe/Budapest", 60, 1741041),
    City(2759794, "Amsterdam", 52.37403, 4.88969, 13, "PPLC", "NL", 2750405, "Netherlands", "North Holland", "Europe/Amsterdam", 60, 741636),
    City(2800866, "Brussels", 50.85045, 4.34878, 28, "PPLC", "BE", 2802361, "Belgium", "Brussels Capital", "Europe/Brussels", 60, 1019022),
    City(2964574, "Dublin", 53.33306, -6.24889, 17, "PPLC", "IE", 2963597, "Ireland", "Leinster", "Europe/Dublin", 0, 1024027),
    City(3413829, "Reykjavík", 64.13548, -21.89541, 37, "PPLC", "IS", 2629691, "Iceland", "Capital Region", "Atlantic/Reykjavik", 0, 118918),
    City(3143244, "Oslo", 59.91273, 10.74609, 26, "PPLC", "NO", 3144096, "Norway", "Oslo", "Europe/Oslo", 60, 580000),
    City(2673730, "Stockholm", 59.32938, 18.06871, 17, "PPLC", "SE", 2661886, "Sweden", "Stockholm", "Europe/Stockholm", 60, 1515017),
    City(2618425, "Copenhagen", 55.67594, 12.56553, 14, "PPLC", "DK", 2623032, "Denmark", "Capital Region", "Europe/Copenhagen", 60, 1153615),
    City(658225, "Helsinki", 60.16952, 24.93545, 26, "PPLC", "FI", 660013, "Finland", "Uusimaa", "Europe/Helsinki", 120, 558457),
    City(264371, "Athens", 37.98376, 23.72784, 70, "PPLC", "GR", 390903, "Greece", "Attica", "Europe/Athens", 120, 664046),
    City(745044, "Istanbul", 41.01384, 28.94966, 39, "PPLA", "TR", 298795, "Türkiye", "Istanbul", "Europe/Istanbul", 180, 14804116),
    City(360630, "Cairo", 30.06263, 31.24967, 23, "PPLC", "EG", 357994, "Egypt", "Cairo", "Africa/Cairo", 120, 9606916),
    City(2332459, "Lagos", 6.45407, 3.39467, 11, "PPLA", "NG", 2328926, "Nigeria", "Lagos", "Africa/Lagos", 60, 15388000),
    City(184745, "Nairobi", -1.28333, 36.81667, 1669, "PPLC", "KE", 192950, "Kenya", "Nairobi County", "Africa/Nairobi", 180, 2750547),
    City(3369157, "Cape Town", -33.92584, 18.42322, 25, "PPLC", "ZA", 953987, "South Africa", "Western Cape", "Africa/Johannesburg", 120, 3433441),
    City(993800, "Johannesburg", -26.20227, 28.04363, 1767, "PPLA", "ZA", 953987, "South Africa", "Gauteng", "Africa/Johannesburg", 120, 2026469),
    City(292223, "Dubai", 25.07725, 55.30927, 24, "PPLA", "AE", 290557, "United Arab Emirates", "Dubai", "Asia/Dubai", 240, 3790000),
    City(1275339, "Mumbai", 19.07283, 72.88261, 8, "PPLA", "IN", 1269750, "India", "Maharashtra", "Asia/Kolkata", 330, 12691836),
    City(1261481, "New Delhi", 28.63576, 77.22445, 214, "PPLC", "IN", 1269750, "India", "Delhi", "Asia/Kolkata", 330, 317797),
    City(1609350, "Bangkok", 13.75398, 100.50144, 12, "PPLC", "TH", 1605651, "Thailand", "Bangkok", "Asia/Bangkok", 420, 5104476),
    City(1880252, "Singapore", 1.28967, 103.85007, 67, "PPLC", "SG", 1880251, "Singapore", "", "Asia/Singapore", 480, 5638700),
    City(1816670, "Beijing", 39.9075, 116.39723, 49, "PPLC", "CN", 1814991, "China", "Beijing", "Asia/Shanghai", 480, 18960744),
    City(1796236, "Shanghai", 31.22222, 121.45806, 12, "PPLA", "CN", 1814991, "China", "Shanghai", "Asia/Shanghai", 480, 24874500),
    City(1835848, "Seoul", 37.566, 126.9784, 38, "PPLC", "KR", 1835841, "South Korea", "Seoul", "Asia/Seoul", 540, 10349312),
    City(1850147, "Tokyo", 35.6895, 139.69171, 44, "PPLC", "JP", 1861060, "Japan", "Tokyo", "Asia/Tokyo", 540, 9733276),
    City(2147714, "Sydney", -33.86785, 151.20732, 58, "PPLA", "AU", 2077456, "Australia", "New South Wales", "Australia/Sydney", 660, 4627345),
    City(2158177, "Melbourne", -37.814, 144.96332, 25, "PPLA", "AU", 2077456, "Australia", "Victoria", "Australia/Melbourne", 660, 4917750),
    City(2193733, "Auckland", -36.84853, 174.76349, 26, "PPLA", "NZ", 2186224, "New Zealand", "Auckland", "Pacific/Auckland", 780, 417910),
    City(5128581, "New York", 40.71427, -74.00597, 10, "PPL", "US", 6252001, "United States", "New York", "America/New_York", -300, 8175133),
    City(4887398, "Chicago", 41.85003, -87.65005, 179, "PPLA2", "US", 6252001, "United States", "Illinois", "America/Chicago", -360, 2720546),
    City(5368361, "Los Angeles", 34.05223, -118.24368, 89, "PPLA2", "US", 6252001, "United States", "California", "America/Los_Angeles", -480, 3971883),
    City(5391959, "San Francisco", 37.77493, -122.41942, 16, "PPLA2", "US", 6252001, "United States", "California", "America/Los_Angeles", -480, 864816),
    City(6167865, "Toronto", 43.70643, -79.39864, 175, "PPLA", "CA", 6251999, "Canada", "Ontario", "America/Toronto", -300, 2600000),
    City(3530597, "Mexico City", 19.42847, -99.12766, 2240, "PPLC", "MX", 3996063, "Mexico", "Mexico City", "America/Mexico_City", -360, 12294193),
    City(3448439, "São Paulo", -23.5475, -46.63611, 769, "PPLA", "BR", 3469034, "Brazil", "São Paulo", "America/Sao_Paulo", -180, 10021295),
    City(3435910, "Buenos Aires", -34.61315, -58.37723, 31, "PPLC", "AR", 3865483, "Argentina", "Buenos Aires F.D.", "America/Argentina/Buenos_Aires", -180, 13076300),
    City(3871336, "Santiago", -33.45694, -70.64827, 556, "PPLC", "CL", 3895114, "Chile", "Santiago Metropolitan", "America/Santiago", -180, 4837295),
    City(3688689, "Bogotá", 4.60971, -74.08175, 2582, "PPLC", "CO", 3686110, "Colombia", "Bogota D.C.", "America/Bogota", -300, 7674366),
    City(3936456, "Lima", -12.04318, -77.02824, 154, "PPLC", "PE", 3932488, "Peru", "Lima", "America/Lima", -300, 7737002),
)
# ruff: enable[E501]
# fmt: on
