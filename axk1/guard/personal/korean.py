"""Personal data as Koreans write them."""

import re

from axk1.guard.personal.check_digits import is_birthday, is_business, is_corporate, is_foreigner, is_resident
from axk1.guard.personal.pattern import Pattern, digits, words

_REGION = (
    "(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주|충청[남북]"
    "|전라[남북]|경상[남북])"
    "(?:특별자치시|특별자치도|특별시|광역시|시|도)?"
)
_DISTRICT = "[가-힣]{1,4}(?:시|군|구)"
_DETAIL = (
    r"(?:,? ?\(?(?:[가-힣A-Za-z0-9]{1,12}(?:아파트|빌라|빌딩|오피스텔|타워"
    r"|맨션))?,? ?(?:제?\d{1,4}동)? ?(?:[B지하]{0,2}\d{1,3}층)? ?"
    r"(?:제?\d{1,5}호)?\)?)?"
)
_ROAD = (
    r"[가-힣]{1,8}[0-9]{0,3}[가-힣]{0,2}(?:대로|로"
    r"|길)(?: ?\d{1,4}(?:번?[가-하])?길)? ?(?:지하 ?)?\d{1,4}(?:-\d{1,4})?(?!\d|년|월|일|시|분|명|개|원|만|번째"
    r"|호선|차)"
)
_LOT = (
    r"[가-힣]{1,6}\d{0,2}(?:동|읍|면|리|가)(?: [가-힣]{1,5}리)? ?(?:산 ?)?\d{1,4}(?:-\d{1,4})?(?:번지)?(?!\d|년|월"
    r"|일|시|분|명|개|원|만|층|호|동|차|위|등)"
)
_BANK = (
    "(?:(?:KB ?)?국민|신한|우리|(?:KEB ?)?하나|(?:NH ?)?농협|(?:IBK ?)?기업|카카오|토스|케이|SC ?제일"
    "|한국?씨티|수협|산업|대구|부산|광주|전북|경남|제주|iM|카뱅|국민카드)(?:은행|뱅크)?"
    "|새마을금고|우체국|신협|저축은행|증권"
)
_HANGUL_DIGIT = "[공영빵일이삼사오육륙칠팔구]"
_PLATE = "[가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주하허호배바사아자]"
SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채원천방공현"
    "함변염여추도소석선설마길연위표명기반라왕금옥육인맹제모탁국어은편용예경봉사부"
)
GIVEN = (
    "민서준지현우영수진은하윤주연성재도예경미정희숙호철훈혁석원승태동상병종기용광선유아빈린율혜나다라솔람순옥화란인규환찬한건범섭식웅욱운익일완형휘효"
    "시소세보명두대남관교국권근금길강결겸슬별봄샘온로루리담단채은새봉복삼순님필학헌협홍황후흥희초춘충치탁택판평표향해행"
)
_TITLE = (
    "(?:님|씨|선생님|교수님?|대리님?|과장님?|부장님?|차장님?|팀장님?|사원|대표님?|이사님?|원장님?|변호사님?"
    "|기자|박사님?|의원|판사|회장님?|사장님?|주임님?|실장님?|간호사님?)"
)
_NOT_NAMES = frozenset({
    "위해서", "주한미", "유효성",
    "감독", "강사", "고객", "고용주", "공동", "공무원", "공인", "구매자", "구분", "구의원", "국장", "국회의원",
    "기관", "기사", "기재", "기준", "나이", "남성", "남의사", "내용", "노무사", "담당의", "대표", "도로명",
    "도우미", "도지사", "모두", "문의", "미정", "배우", "변호사", "부산", "부장", "사무", "사장", "상무", "서울",
    "선생", "선수", "성명", "성별", "성우", "세무사", "소개", "소속", "손님", "수의사", "시의원", "시인", "신임",
    "신청", "신청자", "안내", "여부", "여성", "여의사", "연락처", "우리", "원장", "유권자", "유명인", "유형",
    "이름", "이사", "이상", "이용자", "이재민", "이주민", "이하", "이해관계인", "인원", "인천", "임차인", "작가",
    "전공의", "전무", "전문의", "전직", "전체", "전화", "정규", "정보", "정보원", "제주", "조사관", "조합원",
    "주민", "주민번호", "주소", "주인", "주치의", "지역", "지원", "지원자", "하나", "한국", "한의사", "현직",
    "현황",
})  # fmt: skip


def _resident(match: re.Match[str]) -> float | None:
    number = digits(match.group())
    if not is_birthday(number) or number[6] in "5678":
        return None
    return _surer("-" in match.group(), is_resident(number))


def _foreigner(match: re.Match[str]) -> float | None:
    number = digits(match.group())
    if not is_birthday(number) or number[6] not in "5678":
        return None
    return _surer("-" in match.group(), is_foreigner(number) or is_resident(number))


def _surer(dashed: bool, checked: bool) -> float:
    """With a dash it is hardly anything else; without, one in eleven of other numbers fits the check digit too."""
    return (0.97 if checked else 0.85) if dashed else (0.75 if checked else 0.4)


def _business(match: re.Match[str]) -> float | None:
    return 0.85 if is_business(digits(match.group())) else 0.25


def _corporate(match: re.Match[str]) -> float | None:
    number = digits(match.group())
    return 0.55 if is_corporate(number) and not is_birthday(number) else 0.2


def _landline(match: re.Match[str]) -> float | None:
    return 0.8 if re.search(r"[-. )]", match.group()) else 0.35


def _account(match: re.Match[str]) -> float | None:
    return 0.85 if 9 <= len(digits(match["it"])) <= 15 else None


def _name(match: re.Match[str]) -> float | None:
    name = match["it"]
    if name in _NOT_NAMES or (name + (match.groupdict().get("title") or ""))[:3] in _NOT_NAMES:
        return None
    return 0.7 if len(name) == 3 else 0.6


def _address(match: re.Match[str]) -> float | None:
    return 0.9 if match["region"] else 0.75 if match["district"] else 0.3


_ADDRESS = words("주소|거주|사는 ?곳|배송지|소재지|자택|집은|살고|살아|위치")

PATTERNS = (
    Pattern(
        "resident_number", re.compile(r"(?<!\d)\d{6} ?-? ?[1-4]\d{6}(?!\d)"), _resident, words("주민|등록번호|주번")
    ),
    Pattern(
        "resident_number",
        re.compile(r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]) ?- ?[1-8](?:\*{6}|[xX]{6}|●{6})"),
        0.6,
    ),
    Pattern(
        "foreigner_number",
        re.compile(r"(?<!\d)\d{6} ?-? ?[5-8]\d{6}(?!\d)"),
        _foreigner,
        words("외국인|등록번호|alien|ARC"),
    ),
    Pattern(
        "passport",
        re.compile(r"(?<![A-Za-z0-9])[MSRODGmsrodg]\d{3}(?:\d{5}|[A-Za-z]\d{4})(?![A-Za-z0-9])"),
        0.3,
        words("여권|passport"),
    ),
    Pattern(
        "driver_licence", re.compile(r"(?<![\d\-])(?:1[1-9]|2[0-8])-\d{2}-\d{6}-\d{2}(?![\d\-])"), 0.85, words("면허")
    ),
    Pattern(
        "driver_licence",
        re.compile(
            r"(?:서울|부산|경기|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전"
            r"|울산) ?\d{2}-\d{6}-\d{2}(?!\d)"
        ),
        0.85,
    ),
    Pattern("driver_licence", re.compile(r"(?<!\d)(?:1[1-9]|2[0-8])\d{10}(?!\d)"), 0.05, words("면허"), 0.75),
    Pattern(
        "business_number",
        re.compile(r"(?<![\d\-])\d{3}-\d{2}-\d{5}(?![\d\-])"),
        _business,
        words("사업자|등록번호"),
        0.8,
    ),
    Pattern("business_number", re.compile(r"(?<!\d)\d{10}(?!\d)"), 0.05, words("사업자 ?(?:등록)? ?번호"), 0.75),
    Pattern("corporate_number", re.compile(r"(?<![\d\-])\d{6} ?- ?\d{7}(?![\d\-])"), _corporate, words("법인")),
    Pattern(
        "phone",
        re.compile(r"(?<![\d\-])(?:\+? ?82[-. ]?\(?0?\)?[-. ]?|0)1[016789][-. )]{0,2}\d{3,4}[-. ]{0,2}\d{4}(?![\d])"),
        0.9,
    ),
    Pattern(
        "phone",
        re.compile(
            r"(?<![\d\-])(?:\+ ?82[-. ]?\(?0?\)?|\(?0)(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70"
            r"|50\d?)[-. )]{0,2}\d{3,4}[-. ]?\d{4}(?!\d|-\d)"
        ),
        _landline,
        words("전화|연락|tel|팩스|fax|폰|문의|call|☎|번호"),
        0.85,
    ),
    Pattern(
        "phone",
        re.compile(
            rf"[공영빵] ?(?:일 ?[공영빵일육칠팔구]|이|삼 ?[일이삼]"
            rf"|칠 ?[공영])[ \-.,]{{0,2}}(?:{_HANGUL_DIGIT}[ \-.,에]{{0,2}}){{6,7}}{_HANGUL_DIGIT}"
            rf"(?![가-힣]{{0,0}}{_HANGUL_DIGIT})"
        ),
        0.85,
    ),
    Pattern(
        "account",
        re.compile(rf"(?:{_BANK})[^\d\n]{{0,14}}(?P<it>\d{{2,6}}(?:[- ]\d{{2,7}}){{1,3}}|\d{{9,15}})(?!\d)"),
        _account,
    ),
    Pattern(
        "account",
        re.compile(
            r"(?:계좌(?:번호)?|입금처|송금처|통장)[^\d\n]{0,16}(?P<it>\d{2,6}(?:-\d{2,7}){1,3}|\d{10,15})(?!\d)"
        ),
        _account,
    ),
    Pattern(
        "address",
        re.compile(
            rf"(?:(?P<region>{_REGION}) ?)?(?:(?P<district>{_DISTRICT}) )?(?:{_DISTRICT} )?(?:[가-힣]{{1,5}}(?:읍"
            rf"|면) )?(?<![가-힣]){_ROAD}{_DETAIL}"
        ),
        _address,
        _ADDRESS,
        0.8,
    ),
    Pattern(
        "address",
        re.compile(rf"(?P<region>{_REGION}) ?(?P<district>{_DISTRICT} )?(?:{_DISTRICT} )?{_LOT}{_DETAIL}"),
        _address,
        _ADDRESS,
        0.85,
    ),
    Pattern(
        "address",
        re.compile(rf"(?P<region>(?!))?(?<![가-힣])(?P<district>{_DISTRICT}) {_LOT}{_DETAIL}"),
        0.6,
        _ADDRESS,
        0.85,
    ),
    Pattern("address", re.compile(r"(?<![가-힣\d])\d{1,4}동 ?\d{1,4}호(?![가-힣]?선)"), 0.4, _ADDRESS, 0.7),
    Pattern(
        "name",
        re.compile(
            rf"(?<![가-힣])(?P<it>[{SURNAMES}][{GIVEN}]{{2}}|(?:남궁|황보|제갈|선우|독고"
            rf"|사공)[{GIVEN}]{{1,2}}) ?(?P<title>{_TITLE})(?![가-힣]{{3}})"
        ),
        _name,
    ),
    Pattern(
        "name",
        re.compile(
            rf"(?:이름|성명|성함|수신인?|발신인?|담당자|작성자|예금주|신청인|신청자|환자명?|보호자|고객명"
            rf"|수령인|받는 ?(?:분|사람)|보내는 ?(?:분|사람)|대표자|피고인|원고|피고|예약자|저는|제 이름은)"
            rf" ?(?:[:은는이가]|입니다)? ?(?P<it>[{SURNAMES}][{GIVEN}]{{1,2}})(?=입니다|이라고|라고|이고"
            rf"|이에요|예요|님|씨| ?[,.()/\n]|$| \d)"
        ),
        _name,
    ),
    Pattern(
        "date_of_birth",
        re.compile(
            r"(?<!\d)(?:(?:19|20)\d{2}|\d{2}) ?[년.\-/] ?(?:0?[1-9]|1[0-2]) ?[월.\-/] ?(?:[12]\d|3[01]"
            r"|0?[1-9])(?!\d) ?(?:일 ?)?(?:생(?![가-힣])|출생|태어)"
        ),
        0.85,
    ),
    Pattern(
        "date_of_birth",
        re.compile(
            r"(?:생년월일|생일|출생일?|생년)[^\d\n]{0,8}(?P<it>(?:19|20)?\d{2} ?[년.\-/]? ?(?:0?[1-9]"
            r"|1[0-2]) ?[월.\-/]? ?(?:[12]\d|3[01]|0?[1-9])(?: ?일)?)(?!\d)"
        ),
        0.85,
    ),
    Pattern(
        "vehicle",
        re.compile(
            rf"(?<![\d가-힣])(?:{_REGION[: _REGION.index(')') + 1]} ?)?\d{{2,3}} ?{_PLATE} ?\d{{4}}(?![\d년월일번원])"
        ),
        0.3,
        words("차량|차 ?번호|번호판|주차|내 차"),
    ),
)
