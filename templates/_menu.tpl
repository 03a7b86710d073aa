<%
# The menus of the top bar, and the search. It is kept for others, so nothing here depends on who looks but what it wants:
# t, url, at_home, searching, seen and rest (of the bar), own (the menu of the app that the page belongs to) and own_title.
def entry(one):
%>
<li><a href="{{one.href}}"
<%
  if one.current:
%>
 aria-current="{{one.current}}"
<%
  end
  if one.is_away:
%>
 rel="noopener noreferrer"
<%
  end
%>
>
<%
  if one.icon:
%>
<span class="glyph" aria-hidden="true">{{one.icon}}</span> \\
<%
  end
%>
<bdi>{{one.title}}</bdi>
<%
  if one.is_away:
%>
 <span class="away" aria-hidden="true">↗</span><span class="visually-hidden">{{t("menu.elsewhere")}}</span>
<%
  end
%>
</a></li>
<%
end
%>
<details class="opener"><summary class="button small">{{t("menu.open")}}</summary></details>
<nav class="menu" aria-label="{{t('menu.site')}}">
  <ul>
    <li><a href="{{url('')}}"
% if at_home:
 aria-current="page"
% end
>{{t("common.home")}}</a></li>
% for one in seen:
%   entry(one)
% end
% if rest:
    <li><details class="more"><summary>{{t("menu.more")}}</summary>
      <ul>
%   for one in rest:
%     entry(one)
%   end
      </ul>
    </details></li>
% end
  </ul>
</nav>
% if own:
<nav class="menu own" aria-label="{{own_title}}">
  <ul>
%   for one in own:
%     entry(one)
%   end
  </ul>
</nav>
% end
% if not searching:
<form class="find" action="{{url('search')}}" role="search" aria-label="{{t('menu.site')}}">
  <input type="search" name="q" aria-label="{{t('menu.search')}}" placeholder="{{t('menu.search')}}" dir="auto" data-search>
</form>
% end
